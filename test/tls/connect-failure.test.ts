import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ipOf, socketAddress } from "../../src/tls/address.ts";
import { whyNot } from "../../src/tls/connect-failure.ts";
import { connectTls } from "../../src/tls/connector.ts";
import { FullBacklog } from "../helpers/full-backlog.ts";
import { identityOf } from "./endpoints.ts";

const systemError = (code: string) => Object.assign(new Error(`${code}: x`), { code });

describe("why there is no connection", () => {
  test.each([
    ["ECONNREFUSED", "nothing is listening there"],
    ["ENETUNREACH", "no route to that network"],
    ["EHOSTUNREACH", "that host cannot be reached"],
    ["ETIMEDOUT", "did not answer"],
    ["ENOTFOUND", "no host with that name"],
    ["EAI_AGAIN", "no name server answered"],
  ])("%s is told in words of its own", (code, words) => {
    expect(whyNot(systemError(code), 1)).toContain(words);
  });

  test("a refusal that took seconds is none: the host is down", () => {
    expect(whyNot(systemError("ECONNREFUSED"), 3_100)).toContain("that host did not answer within 3 s");
  });
});

const canUnshare = Bun.which("unshare") !== null && Bun.spawnSync(["unshare", "-n", "true"]).success;

test.skipIf(!canUnshare)("a network without a route is told from a port where nothing listens", () => {
  const connector = join(import.meta.dir, "../../src/tls/connector.ts");
  const script = `
    const { connectTls } = await import(${JSON.stringify(connector)});
    for (const host of ["10.9.9.9", "10.8.8.8", "127.0.0.1"])
      await connectTls({ host, port: 1, identity: {}, isExpected: () => true, timeoutMs: 5000 })
        .catch((error) => console.log(host, error.cause?.code));
  `;
  const command = `ip link set lo up; ip route add unreachable 10.8.0.0/16; exec "$BUN" -e "$SCRIPT"`;
  const env = { ...process.env, BUN: process.execPath, SCRIPT: script };
  const { stdout } = Bun.spawnSync(["unshare", "-n", "sh", "-c", command], { env });
  expect(stdout.toString()).toBe("10.9.9.9 ENETUNREACH\n10.8.8.8 EHOSTUNREACH\n127.0.0.1 ECONNREFUSED\n");
});

test("a server that answers no packet leaves no socket behind at the deadline", async () => {
  const identity = await identityOf();
  using silent = await FullBacklog.start();
  const opening = () =>
    connectTls({ host: "127.0.0.1", port: silent.port, identity, isExpected: () => true, timeoutMs: 100 });
  const waiting = () => synsTo(silent.port);
  const before = waiting();
  const attempts = Array.from({ length: 5 }, () => opening().catch(({ code }) => code));
  expect(await Promise.all(attempts)).toEqual(Array(5).fill("unreachable"));
  expect(waiting()).toBe(before);
});

/** Sockets of this machine that wait for an answer from that port of 127.0.0.1. */
function synsTo(port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 02`;
  const table = readFileSync("/proc/net/tcp", "latin1");
  return table.split("\n").filter((line) => line.includes(remote)).length;
}

test("the address of a socket that has forgotten its port is its IP address alone", () => {
  expect(socketAddress("10.77.0.2", undefined)).toBe("10.77.0.2");
  expect(socketAddress("::1", undefined)).toBe("::1");
  expect(socketAddress("::1", 80)).toBe("[::1]:80");
  for (const address of ["10.77.0.2", "10.77.0.2:80"]) expect(ipOf(address)).toBe("10.77.0.2");
  for (const address of ["::1", "[::1]:80"]) expect(ipOf(address)).toBe("::1");
});
