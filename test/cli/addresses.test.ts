import { describe, expect, test } from "bun:test";
import { endpoint, hostAndPort, listenAddress } from "../../src/cli/addresses.ts";

describe("a server's host", () => {
  test.each<[text: string, host: string, port: number | undefined]>([
    ["server.example", "server.example", undefined],
    ["server.example:9443", "server.example", 9443],
    ["127.0.0.1:1", "127.0.0.1", 1],
    ["localhost:65535", "localhost", 65_535],
    ["::1", "[::1]", undefined],
    ["[::1]", "[::1]", undefined],
    ["[2001:db8::1]:9443", "[2001:db8::1]", 9443],
  ])("%p is host %p, port %p", (text, host, port) => {
    expect(hostAndPort.parse(text)).toEqual({ host, port });
  });

  test.each([
    "",
    "a b",
    "https://server",
    "user@server",
    "a:",
    "a:b",
    "a:1:2",
    "[::1",
    "[::1]x",
    "[a]:1",
    "a]",
  ])("cannot be %p", (text) => {
    expect(hostAndPort.safeParse(text).error?.issues[0]?.message).toStartWith("It must be HOST or HOST:PORT");
  });

  test.each(["a:0", "a:65536", "[::1]:0", `a:${"9".repeat(400)}`])("cannot have the port in %p", (text) => {
    expect(hostAndPort.safeParse(text).error?.issues[0]?.message).toBe("The port must be from 1 to 65535.");
  });
});

describe("an endpoint", () => {
  test.each([
    ["9100", "127.0.0.1", 9100],
    ["0", "127.0.0.1", 0],
    ["0.0.0.0:9100", "0.0.0.0", 9100],
    ["metrics.example:65535", "metrics.example", 65_535],
    ["[::1]:9100", "::1", 9100],
  ])("%p is host %p, port %p", (text, hostname, port) => {
    expect(endpoint.parse(text)).toEqual({ hostname, port });
  });

  test.each(["", "host", "host:", ":9100", "::1:9100", "[::1]", "a b:1", "9100x", "-1"])(
    "cannot be %p",
    (text) => {
      expect(endpoint.safeParse(text).error?.issues[0]?.message).toBe("It must be PORT or HOST:PORT.");
    },
  );

  test("has a port of at most 65535", () => {
    expect(endpoint.safeParse("65536").error?.issues[0]?.message).toBe("The port must be at most 65535.");
  });
});

describe("an address to listen on", () => {
  test.each(["localhost", "0.0.0.0", "::", "::1", "[::1]", "server.example"])("may be %p", (text) => {
    expect(listenAddress.parse(text)).toBe(text);
  });

  test.each(["", "localhost:8443", "[::1]:8443", "http://x", "a b", "[x]"])("cannot be %p", (text) => {
    expect(listenAddress.safeParse(text).error?.issues[0]?.message).toContain("without a port (use --port)");
  });
});
