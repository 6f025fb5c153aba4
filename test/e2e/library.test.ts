import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  addTrustedKey,
  connect,
  initServer,
  loadOrCreateIdentity,
  type ModuleChange,
  removeTrustedKey,
  type ServerNews,
  type ServerObserver,
  serve,
  VerificationError,
  type VeripyClient,
  VeripyError,
  type VeripyServer,
} from "../../src/index.ts";
import { LineClient } from "../helpers/line-client.ts";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { type temporaryDirectory as directory, temporaryDirectory } from "../helpers/temporary.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

// An embedding program uses only `src/index.ts`; no test in this file runs an executable.

const doubling = "export const execute = async (args: string) => args + args;\n";

let here: Awaited<ReturnType<typeof directory>>;
let server: VeripyServer;
let client: VeripyClient;
const observed: string[] = [];
const observer: ServerObserver = {
  connected: () => void observed.push("connected"),
  answered: ({ action, code }) => void observed.push(`${action} ${code}`),
  refused: ({ reason }) => void observed.push(`refused ${reason}`),
};

const inHere = (name: string) => join(here.path, name);
const options = () => ({ host: "localhost", port: server.port, certsDir: inHere("certs") });

beforeAll(async () => {
  here = await temporaryDirectory();
  const paths = {
    modsDir: inHere("mods"),
    certsDir: inHere("certs"),
    trustedKeysPath: inHere("trusted-keys.json"),
  };
  await initServer(paths);
  await Bun.write(inHere("mods/double.ts"), doubling);
  server = await serve({ ...paths, port: 0, observers: [observer], limits: { execMs: 2_000 } });
  client = await connect(options());
});
afterAll(async () => {
  client?.close();
  await server?.stop();
  await here?.[Symbol.asyncDispose]();
});

/** The error that something was rejected with. */
async function failureOf(promise: Promise<unknown>): Promise<VeripyError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof VeripyError) return error;
  throw new Error(`Expected a VeripyError, got ${error}`);
}

function nextNews(fits: (news: ServerNews) => boolean): Promise<ServerNews> {
  const { promise, resolve } = Promise.withResolvers<ServerNews>();
  const listener = (news: ServerNews) => {
    if (!fits(news)) return;
    client.off("news", listener);
    resolve(news);
  };
  client.on("news", listener);
  return within(5_000, "news", promise);
}

describe("an embedding program", () => {
  test("lists, verifies and runs modules", async () => {
    expect([...client.reports.keys()].sort()).toEqual(["double.ts", "hello.ts"]);
    const verdict = await client.verify("double");
    expect(verdict).toMatchObject({
      verified: true,
      mod: "double.ts",
      sum: sha256(doubling),
      tree: treeOf({ "double.ts": doubling }),
      files: [{ path: "double.ts", content: doubling, sum: sha256(doubling) }],
    });
    expect(await client.exec("double", "ab")).toEqual({
      mod: "double.ts",
      result: "abab",
      sum: sha256(doubling),
      tree: treeOf({ "double.ts": doubling }),
    });
    expect(client.serverFingerprint).toBe(server.fingerprint);
    expect(await client.ping()).toBeGreaterThan(0);
    expect((await client.info()).protocol).toBe(1);
    expect(observed).toContain("connected");
    expect(observed).toContain("exec ok");
  });

  test("receives events of changes on both sides", async () => {
    const onServer = new Promise<ModuleChange>((resolve) => server.once("module", resolve));
    const onClient = nextNews(({ kind }) => kind === "modload");
    await Bun.write(inHere("mods/new.ts"), "export const execute = () => 'new';\n");
    expect(await onServer).toMatchObject({ kind: "modload", report: { mod: "new.ts" } });
    expect(await onClient).toMatchObject({ kind: "modload", mod: "new.ts" });
    expect((await client.exec("new")).result).toBe("new");

    const unload = nextNews(({ kind }) => kind === "modunload");
    await rm(inHere("mods/new.ts"));
    expect(await unload).toMatchObject({ mod: "new.ts" });
    expect((await failureOf(client.exec("new"))).code).toBe("not_found");
  });

  test("gets errors with codes: of a module that fails, a deadline, a cancelled call", async () => {
    await Bun.write(inHere("mods/fails.ts"), "export const execute = () => { throw new Error('no'); };\n");
    await Bun.write(
      inHere("mods/waits.ts"),
      "export const execute = () => Bun.sleep(60_000).then(() => '');\n",
    );
    await eventually("both modules", () => client.reports.has("fails.ts") && client.reports.has("waits.ts"));
    expect(await failureOf(client.exec("fails"))).toMatchObject({ code: "exec_failed" });
    expect(await failureOf(client.exec("waits", "", { timeoutMs: 100 }))).toMatchObject({ code: "timeout" });
    const controller = new AbortController();
    const cancelled = failureOf(client.exec("waits", "", { signal: controller.signal }));
    await client.ping();
    controller.abort();
    expect(await cancelled).toMatchObject({ code: "cancelled" });
    expect(await failureOf(client.exec("double", "x", { tree: "0".repeat(64) }))).toMatchObject({
      code: "version_mismatch",
    });
  });

  test("receives what a module streams part by part", async () => {
    await Bun.write(inHere("mods/counts.ts"), "export async function* execute() { yield 'a'; yield 'b'; }\n");
    await eventually("the module", () => client.reports.has("counts.ts"));
    const parts: string[] = [];
    await client.exec("counts", "", { onPart: (part) => void parts.push(part) });
    expect(parts).toEqual(["a", "b"]);
  });

  test("learns from the error what a lying server said", async () => {
    using liar = await ScriptedServer.start(inHere("certs"), { "hello.ts": { content: "// x\n" } });
    liar.lies = { verify: (answer) => Object.assign(answer, { content: "// y\n" }) };
    using deceived = await connect({ ...options(), port: liar.port });
    const error = await failureOf(deceived.exec("hello"));
    expect(error).toBeInstanceOf(VerificationError);
    expect((error as VerificationError).verdict.mismatches).toContainEqual({
      what: "hello.ts",
      by: "the report",
      expected: sha256("// x\n"),
      actual: sha256("// y\n"),
    });
  });

  test("may keep its key in memory, and is refused until the key is trusted", async () => {
    const { identity } = await loadOrCreateIdentity(inHere("other"), "client");
    await rm(inHere("other"), { recursive: true });
    const inMemory = {
      ...options(),
      identity,
      certsDir: inHere("nowhere"),
      serverFingerprint: server.fingerprint,
    };
    const refused = await failureOf(connect(inMemory));
    expect(refused).toMatchObject({ code: "untrusted" });
    expect(refused.message).toContain(identity.fingerprint);
    expect(observed).toContain("refused untrusted");

    await addTrustedKey(inHere("trusted-keys.json"), identity.fingerprint, { name: "in memory" });
    const other = await eventually("the key to be let in", () => connect(inMemory).catch(() => undefined));
    const closed = new Promise<VeripyError>((resolve) => other.once("closed", resolve));
    await removeTrustedKey(inHere("trusted-keys.json"), "in memory");
    expect(await within(1_500, "the end of the connection", closed)).toMatchObject({ code: "untrusted" });
    expect(client.isConnected).toBe(true);
  });

  test("is asked about an unknown server, and a yes is kept", async () => {
    await loadOrCreateIdentity(inHere("asked"), "client");
    const asked: string[] = [];
    const confirm = (answer: boolean) => ({
      ...options(),
      certsDir: inHere("asked"),
      confirmServer: async (fingerprint: string) => {
        asked.push(fingerprint);
        return answer;
      },
    });
    expect(await failureOf(connect(confirm(false)))).toMatchObject({ code: "untrusted" });
    expect(asked).toEqual([server.fingerprint]);
    expect(await Bun.file(inHere("asked/known-servers.json")).exists()).toBe(false);
    // The client accepts the server, but not the other way round: the server's key is kept anyway.
    expect(await failureOf(connect(confirm(true)))).toMatchObject({ code: "untrusted" });
    expect(await Bun.file(inHere("asked/known-servers.json")).json()).toEqual({
      [`localhost:${server.port}`]: server.fingerprint,
    });
    await failureOf(connect(confirm(false)));
    expect(asked).toHaveLength(2);
  });
});

test("stopping a server drains its calls and closes each client once, with the reason", async () => {
  await Bun.write(
    inHere("mods/slowly.ts"),
    "export const execute = () => Bun.sleep(200).then(() => 'done');\n",
  );
  const mods = { modsDir: inHere("mods"), certsDir: inHere("certs") };
  await using other = await serve({ ...mods, trustedKeysPath: inHere("trusted-keys.json"), port: 0 });
  const ending = await connect({ ...options(), port: other.port });
  const events: string[] = [];
  ending.on("news", ({ kind }) => events.push(kind));
  ending.on("closed", ({ code }) => events.push(`closed ${code}`));
  await ending.verify("slowly");
  const call = ending.exec("slowly");
  // Requests are handled in order, so when this one is answered, the call has begun.
  await ending.ping();
  await other.stop();
  await other.stop();
  expect((await call).result).toBe("done");
  await eventually("the end", () => events.some((event) => event.startsWith("closed")));
  ending.close();
  ending.close();
  expect(events).toEqual(["drain", "closed shutting_down"]);
  expect(await failureOf(ending.sync())).toMatchObject({ code: "shutting_down" });
});

test("a stopped server writes nothing more, and has logged the end of every connection", async () => {
  const heard: string[] = [];
  const stopping = await serve({
    port: 0,
    modsDir: inHere("mods"),
    certsDir: inHere("certs"),
    trustedKeysPath: inHere("trusted-keys.json"),
    audit: { path: inHere("audit.log") },
    observers: [{ disconnected: () => void heard.push("disconnected") }],
  });
  const prompt = await connect({ ...options(), port: stopping.port, reconnect: false });
  const { identity } = await loadOrCreateIdentity(inHere("certs"), "client");
  using mute = await LineClient.connect({ port: stopping.port, identity });
  await eventually("both", () => stopping.sessions.size === 2);
  // It does not close its half in answer to the server's close.
  mute.pause();
  await stopping.stop();
  // These files get the descriptors that the server has closed.
  const names = Array.from({ length: 20 }, (_, index) => inHere(`after-${index}`));
  const files = names.map((name) => openSync(name, "a"));
  await eventually("the end of both", () => heard.length === 2);
  prompt.close();
  for (const file of files) closeSync(file);
  for (const name of names) expect(await Bun.file(name).text()).toBe("");
  const events = jsonLines(await Bun.file(inHere("audit.log")).text()).map(({ event }) => event);
  expect(events.filter((event) => event === "disconnected")).toHaveLength(2);
});

test("a server that can't start rejects with a code", async () => {
  await rename(inHere("trusted-keys.json"), inHere("away.json"));
  const paths = {
    modsDir: inHere("mods"),
    certsDir: inHere("certs"),
    trustedKeysPath: inHere("trusted-keys.json"),
  };
  const missing = await failureOf(serve({ ...paths, port: 0 }));
  await rename(inHere("away.json"), inHere("trusted-keys.json"));
  expect(missing.code).toBe("bad_identity");
  expect(await failureOf(serve({ ...paths, port: server.port }))).toMatchObject({ code: "bad_config" });
});
