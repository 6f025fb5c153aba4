import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { addConnectionFlags } from "../../src/cli/client-options.ts";
import { collectHosts, parseHostList } from "../../src/cli/host-list.ts";

describe("a list of hosts", () => {
  test("has one a line, with comments and empty lines between them", () => {
    const list = "# all\n\na\r\n b:9443  # the second\n[::1]:1\n::1\nprod";
    expect(parseHostList(list, "hosts")).toEqual(["a", "b:9443", "[::1]:1", "::1", "prod"]);
  });

  test.each([
    ["a\nb c\n", "hosts: line 2: 'b c' is not a host."],
    ["a\n\nb:0", "hosts: line 3: 'b:0' is not a host. The port must be"],
    ["a:b", "hosts: line 1: 'a:b' is not a host."],
    ["user@a", "hosts: line 1: 'user@a' is not a host."],
    ["a\nb\na # again", "hosts: line 3: a is in line 1 already."],
    ["# none\n\n", "hosts names no hosts."],
    ["", "hosts names no hosts."],
  ])("%j is refused", (list, problem) => {
    expect(() => parseHostList(list, "hosts")).toThrow(problem);
  });
});

/** The hosts of these words; undefined for one host. */
function hostsOf(words: string, flags: { hosts?: string; stdin?: boolean } = {}) {
  const program = addConnectionFlags(new Command()).enablePositionalOptions();
  const command = addConnectionFlags(program.command("exec"));
  const hosts = collectHosts(command);
  let result: Promise<string[] | undefined> | undefined;
  command.action(() => {
    result = hosts(flags);
  });
  program.parse(words.split(" "), { from: "user" });
  return result;
}

describe("--host", () => {
  test("once, or never, is one host", async () => {
    expect(await hostsOf("exec")).toBeUndefined();
    expect(await hostsOf("exec -H a")).toBeUndefined();
    expect(await hostsOf("-H a exec -H b")).toBeUndefined();
  });

  test("several times is several hosts, before or after the command's name", async () => {
    expect(await hostsOf("exec -H a --host b:1")).toEqual(["a", "b:1"]);
    expect(await hostsOf("-H a -H b exec")).toEqual(["a", "b"]);
    expect(await hostsOf("-H x -H y exec -H a -H b")).toEqual(["a", "b"]);
  });

  test("twice with the same host is refused", async () => {
    await expect(hostsOf("exec -H a -H b -H a")).rejects.toThrow("--host names a twice.");
  });

  test("and a list are too many", async () => {
    await expect(hostsOf("exec -H a", { hosts: "file" })).rejects.toThrow("Give only one of them.");
  });
});

test("standard input is one thing only", async () => {
  await expect(hostsOf("exec", { hosts: "-", stdin: true })).rejects.toThrow("not both");
});

test("a list has a limit", async () => {
  const words = (count: number) =>
    `exec ${Array.from({ length: count }, (_, index) => `-H h${index}`).join(" ")}`;
  expect(await hostsOf(words(500))).toHaveLength(500);
  await expect(hostsOf(words(501))).rejects.toThrow("the limit is 500");
});
