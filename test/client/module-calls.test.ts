import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient } from "../../src/index.ts";
import { readManifest } from "../../src/manifest/manifest.ts";
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

/** What a server says of a module with a schema. */
function described(content: string): object {
  if (!content.includes("input")) return {};
  const { input, permissions } = readManifest(mod, [[mod, content]]);
  return { input, permissions, described_by: "source" };
}

/** A server that keeps only the current version of its one module, and what it was asked. */
async function open(first = "1"): Promise<{
  client: VeripyClient;
  asked: string[];
  /** The arguments of each call. */
  args: string[];
  edit(content: string): void;
  [Symbol.dispose](): void;
}> {
  let content = first;
  const asked: string[] = [];
  const calls: string[] = [];
  const server = new AnsweringServer(identities.server);
  server.script = (line) => {
    const [, type = "", ref = "", json = "{}"] = /^mod:(\w+):(\S+) (.*)$/.exec(line) ?? [];
    asked.push(type);
    const sum = sha256Hex(content);
    const report = { mod, sum, tree: treeSum([{ path: mod, sum }]), ...described(content) };
    const { tree, args } = JSON.parse(json) as { tree?: string; args?: string };
    if (args !== undefined) calls.push(args);
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
    args: calls,
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

describe("arguments given as words", () => {
  const schema = (field: string) =>
    `export const input = { type: "object", properties: { ${field}: { type: "integer" } }, required: ["${field}"] };
     export const execute = (args: string) => args;\n`;

  test("are built by the schema of the verified version", async () => {
    using at = await open(schema("count"));
    await at.client.exec(mod, ["count=5"]);
    expect(at.args).toEqual(['{"count":5}']);
    expect(await at.client.prepare(mod, ["count=5"])).toMatch(/^[0-9a-f]{64}$/);
  });

  test("are not sent if they do not fit it", async () => {
    using at = await open(schema("count"));
    for (const words of [[], ["count=x"], ["cuont=5"], ['{"count":"x"}']]) {
      const refusal = { code: "bad_arguments", started: false };
      await expect(at.client.exec(mod, words)).rejects.toMatchObject(refusal);
      await expect(at.client.prepare(mod, words)).rejects.toMatchObject(refusal);
    }
    expect(at.asked).toEqual(["sync", "verify"]);
  });

  test("are built anew for the version that replaces the verified one", async () => {
    using at = await open(schema("count"));
    await at.client.verify(mod);
    at.edit(schema("amount"));
    await expect(at.client.exec(mod, ["count=5"])).rejects.toMatchObject({
      code: "bad_arguments",
      started: false,
    });
    await at.client.verify(mod);
    at.edit(schema("count"));
    await at.client.exec(mod, ['{"amount":1,"count":5}']);
    expect(at.args.at(-1)).toBe('{"amount":1,"count":5}');
  });

  test("are refused for a version whose schema is not known", async () => {
    using at = await open(schema("count"));
    const { tree } = await at.client.exec(mod, ["count=5"]);
    const call = at.client.exec(mod, ["count=5"], { tree: "0".repeat(64) });
    await expect(call).rejects.toMatchObject({ code: "unsupported", started: false });
    await at.client.exec(mod, ["count=6"], { tree });
    expect(at.args).toEqual(['{"count":5}', '{"count":6}']);
  });

  test("are joined by spaces for a module without a schema", async () => {
    using at = await open("export const execute = () => '';\n");
    await at.client.exec(mod, ["a=1", "b"]);
    expect(at.args).toEqual(["a=1 b"]);
  });
});
