import { afterAll, beforeAll, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient } from "../../src/index.ts";
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

/** A server that keeps only the current version of its one module, and what it was asked. */
async function open(): Promise<{
  client: VeripyClient;
  asked: string[];
  edit(content: string): void;
  [Symbol.dispose](): void;
}> {
  let content = "1";
  const asked: string[] = [];
  const server = new AnsweringServer(identities.server);
  server.script = (line) => {
    const [, type = "", ref = "", json = "{}"] = /^mod:(\w+):(\S+) (.*)$/.exec(line) ?? [];
    asked.push(type);
    const sum = sha256Hex(content);
    const report = { mod, sum, tree: treeSum([{ path: mod, sum }]) };
    const { tree } = JSON.parse(json) as { tree?: string };
    const answers: Record<string, object> = {
      sync: { modules: [report] },
      verify: { ...report, content, files: [] },
      exec:
        tree === report.tree
          ? { ...report, result: content }
          : { error: "no such version", code: "version_mismatch", started: false },
    };
    return `mod:${type}_resp:${ref} ${JSON.stringify(answers[type])}\n`;
  };
  const client = await connect({
    host: "127.0.0.1",
    port: server.port,
    identity: identities.client,
    serverFingerprint: identities.server.fingerprint,
    certsDir: certs.path,
  });
  return {
    client,
    asked,
    edit: (edited) => {
      content = edited;
    },
    [Symbol.dispose]() {
      client.close();
      server[Symbol.dispose]();
    },
  };
}

test("a module is verified before its first call, and not again before the next", async () => {
  using at = await open();
  expect((await at.client.exec("m")).result).toBe("1");
  expect((await at.client.exec(mod)).result).toBe("1");
  expect(at.asked).toEqual(["sync", "verify", "exec", "exec"]);
});

test("a version that the server no longer has is verified anew, and the new one is called once", async () => {
  using at = await open();
  await at.client.verify(mod);
  at.edit("2");
  expect((await at.client.exec(mod)).result).toBe("2");
  expect(at.asked).toEqual(["sync", "verify", "exec", "sync", "verify", "exec"]);
});

test("a call that names its version is not made with another", async () => {
  using at = await open();
  const { tree } = (await at.client.exec(mod)) as { tree: string };
  at.edit("2");
  const call = at.client.exec(mod, "", { tree });
  await expect(call).rejects.toMatchObject({ code: "version_mismatch", started: false });
  expect(at.asked).toEqual(["sync", "verify", "exec", "exec"]);
});

test("a call whose module can't be verified has not run", async () => {
  using at = await open();
  await expect(at.client.exec("unknown")).rejects.toMatchObject({ code: "not_found", started: false });
  expect(at.asked).not.toContain("exec");
});
