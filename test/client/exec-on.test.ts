import { afterAll, beforeAll, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import { hostsAtOnce } from "../../src/client/exec-on.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type ExecHost, execOn, type HostOutcome, type VeripyClient } from "../../src/index.ts";
import { treeSum } from "../../src/protocol/tree.ts";
import { AnsweringServer } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const mod = "m.ts";
let identities: { server: Identity; client: Identity };
let certs: { path: string } & AsyncDisposable;

beforeAll(async () => {
  identities = { server: await newIdentity("server"), client: await newIdentity("client") };
  certs = await temporaryDirectory();
});
afterAll(() => certs[Symbol.asyncDispose]());

/** A server of one module. What it answers is its name, and its version may be swapped after it was verified. */
class ScriptedHost implements Disposable, ExecHost {
  readonly host: string;
  readonly asked: string[] = [];
  readonly clients: VeripyClient[] = [];
  readonly #server = new AnsweringServer(identities.server);

  constructor(host: string, content: string, { swappedFor = content, lies = false, isSilent = false } = {}) {
    this.host = host;
    this.#server.script = (line) => {
      if (line.startsWith("mod:exec:") && isSilent) return "";
      const [, type = "", ref = "", json = "{}"] = /^mod:(\w+):(\S+) (.*)$/.exec(line) ?? [];
      const before = reportOf(content);
      const current = this.asked.includes("verify") ? reportOf(swappedFor) : before;
      this.asked.push(type);
      const { tree } = JSON.parse(json) as { tree?: string };
      const answers: Record<string, object> = {
        sync: { modules: [current] },
        verify: { ...before, content: lies ? `${content} ` : content, files: [] },
        exec:
          tree === current.tree
            ? { ...current, result: host }
            : { error: "no such version", code: "version_mismatch", started: false },
      };
      return `mod:${type}_resp:${ref} ${JSON.stringify(answers[type])}\n`;
    };
  }

  readonly connect = async (): Promise<VeripyClient> => {
    const client = await connect({
      host: "127.0.0.1",
      port: this.#server.port,
      identity: identities.client,
      serverFingerprint: identities.server.fingerprint,
      certsDir: certs.path,
    });
    this.clients.push(client);
    return client;
  };

  [Symbol.dispose](): void {
    this.#server[Symbol.dispose]();
  }
}

function reportOf(content: string) {
  const sum = sha256Hex(content);
  return { mod, sum, tree: treeSum([{ path: mod, sum }]) };
}

const source = (version: number) => `export const execute = () => "${version}";\n`;

/** Each host's state and, if it was called or failed, its result or code. */
const shortly = (outcomes: readonly HostOutcome[]) =>
  outcomes.map((one) => {
    if (one.state === "done") return `${one.host} ${one.result.result}`;
    return `${one.host} ${one.state === "failed" ? one.error.code : one.state}`;
  });

const closedHost: ExecHost = {
  host: "closed",
  connect: () =>
    connect({ host: "127.0.0.1", port: 1, identity: identities.client, serverFingerprint: "0".repeat(64) }),
};

test("hosts that run the same version are all called, and every connection is closed", async () => {
  using a = new ScriptedHost("a", source(1));
  using b = new ScriptedHost("b", source(1));
  const told: HostOutcome[] = [];
  const outcomes = await execOn([a, b], "m", "x", { onOutcome: (outcome) => told.push(outcome) });
  expect(shortly(outcomes)).toEqual(["a a", "b b"]);
  expect(shortly(told).sort()).toEqual(["a a", "b b"]);
  expect([...a.clients, ...b.clients].map(({ isConnected }) => isConnected)).toEqual([false, false]);
});

test("hosts that run different versions are not called, unless they may be mixed", async () => {
  using a = new ScriptedHost("a", source(1));
  using b = new ScriptedHost("b", source(2));
  using c = new ScriptedHost("c", source(1));
  const refused = execOn([a, b, c], mod);
  await expect(refused).rejects.toMatchObject({
    code: "version_mismatch",
    message: expect.stringMatching(/different versions of m\.ts: [0-9a-f]{64} at a, c; [0-9a-f]{64} at b\./),
  });
  for (const host of [a, b, c]) {
    expect(host.asked).toEqual(["sync", "verify"]);
    expect(host.clients.map(({ isConnected }) => isConnected)).toEqual([false]);
  }
  expect(shortly(await execOn([a, b, c], mod, "", { mixed: true }))).toEqual(["a a", "b b", "c c"]);
});

test("nothing is called when one host cannot be reached, unless they may be mixed", async () => {
  using a = new ScriptedHost("a", source(1));
  expect(shortly(await execOn([a, closedHost], mod))).toEqual(["a not called", "closed unreachable"]);
  expect(a.asked).not.toContain("exec");
  const mixed = await execOn([a, closedHost], mod, "", { mixed: true });
  expect(shortly(mixed)).toEqual(["a a", "closed unreachable"]);
});

test("nothing is called when one host cannot be verified, and that host is not even if they may be mixed", async () => {
  using a = new ScriptedHost("a", source(1));
  using liar = new ScriptedHost("liar", source(1), { lies: true });
  expect(shortly(await execOn([a, liar], mod))).toEqual(["a not called", "liar verification_failed"]);
  expect(a.asked).not.toContain("exec");
  const mixed = await execOn([a, liar], mod, "", { mixed: true });
  expect(shortly(mixed)).toEqual(["a a", "liar verification_failed"]);
  expect(liar.asked).not.toContain("exec");
});

test("a host that changes its version after it was verified runs neither", async () => {
  using a = new ScriptedHost("a", source(1));
  using b = new ScriptedHost("b", source(1), { swappedFor: source(2) });
  expect(shortly(await execOn([a, b], mod))).toEqual(["a a", "b version_mismatch"]);
});

test("a host may have a deadline of its own", async () => {
  using a = new ScriptedHost("a", source(1));
  using slow = new ScriptedHost("slow", source(1), { isSilent: true });
  const { host, connect } = slow;
  const outcomes = await execOn([a, { host, connect, timeoutMs: 50 }], mod, "", { timeoutMs: 20_000 });
  expect(shortly(outcomes)).toEqual(["a a", "slow timeout"]);
}, 10_000);

test("only a few hosts are connected to at a time, and every host has its turn", async () => {
  const hosts = Array.from({ length: 20 }, (_, index) => new ScriptedHost(`h${index}`, source(1)));
  let now = 0;
  let most = 0;
  const counted = hosts.map(({ host, connect }) => ({
    host,
    connect: async () => {
      now += 1;
      most = Math.max(most, now);
      try {
        return await connect();
      } finally {
        now -= 1;
      }
    },
  }));
  expect(shortly(await execOn(counted, mod))).toEqual(hosts.map(({ host }) => `${host} ${host}`));
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(hostsAtOnce);
  for (const host of hosts) host[Symbol.dispose]();
});

test("a fault of the program is no outcome", async () => {
  const broken = { host: "broken", connect: () => Promise.reject(new TypeError("a bug")) };
  await expect(execOn([broken], mod)).rejects.toThrow("a bug");
});
