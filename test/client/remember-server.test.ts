import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  beginServerRotation,
  type ConnectOptions,
  connect,
  type Identity,
  initServer,
  loadIdentity,
  loadOrCreateIdentity,
  serve,
  type VeripyServer,
} from "../../src/index.ts";
import { Relay } from "../helpers/relay.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let here: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: VeripyServer;
let identity: Identity;
let nextDisconnect: () => Promise<void>;
const inHere = (name: string) => join(here.path, name);

beforeAll(async () => {
  here = await temporaryDirectory();
  const paths = {
    modsDir: inHere("mods"),
    certsDir: inHere("certs"),
    trustedKeysPath: inHere("trusted-keys.json"),
  };
  await initServer(paths);
  let disconnected = () => {};
  nextDisconnect = () => new Promise((resolve) => (disconnected = resolve));
  server = await serve({ ...paths, port: 0, observers: [{ disconnected: () => disconnected() }] });
  identity = await loadIdentity(inHere("certs"), "client");
});
afterAll(async () => {
  await server?.stop();
  await here?.[Symbol.asyncDispose]();
});

/** A folder that names no server, and a way to connect with it. */
async function folder(name: string, port = server.port) {
  const certsDir = inHere(name);
  const own = (await loadOrCreateIdentity(certsDir, "client")).identity;
  const file = join(certsDir, "known-servers.json");
  const connectWith = (options: ConnectOptions) =>
    connect({
      host: "localhost",
      port,
      certsDir,
      identity,
      serverFingerprint: server.fingerprint,
      ...options,
    });
  const known = () => (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined);
  return { own, file, connectWith, known };
}

describe("the key of `serverFingerprint`", () => {
  test("is kept when the answer is true, and the question is not repeated", async () => {
    const { connectWith, known, file } = await folder("asked");
    const asked: string[] = [];
    const rememberServer = async (fingerprint: string) => asked.push(fingerprint) > 1;
    {
      using client = await connectWith({ rememberServer });
      expect(client.rememberedIn).toBeUndefined();
      expect(known()).toBeUndefined();
    }
    {
      using client = await connectWith({ rememberServer });
      expect(client.rememberedIn).toBe(file);
      expect(known()).toEqual({ [`localhost:${server.port}`]: server.fingerprint });
    }
    using client = await connectWith({ rememberServer });
    expect(client.rememberedIn).toBeUndefined();
    expect(asked).toEqual([server.fingerprint, server.fingerprint]);
  });

  test("is not kept by default", async () => {
    const { connectWith, known } = await folder("unsaid");
    for (const options of [{}, { rememberServer: false }]) {
      using client = await connectWith(options);
      expect(client.isConnected).toBe(true);
      expect(known()).toBeUndefined();
    }
  });

  test("is not asked about when the server has another key, or refuses this client", async () => {
    const { connectWith, known, own } = await folder("refused");
    let questions = 0;
    const rememberServer = async () => ++questions > 0;
    for (const wrong of [{ serverFingerprint: "ab".repeat(32) }, { identity: own }]) {
      await expect(connectWith({ rememberServer, ...wrong })).rejects.toMatchObject({ code: "untrusted" });
    }
    expect({ questions, known: known() }).toEqual({ questions: 0, known: undefined });
  });

  test("that can't be written is an error", async () => {
    const { connectWith } = await folder("unwritable");
    const options = { certsDir: inHere("nowhere"), rememberServer: true };
    await expect(connectWith(options)).rejects.toMatchObject({ code: "bad_identity" });
  });

  test("does not replace a key that was pinned while the question was open", async () => {
    const { connectWith, known, file } = await folder("meanwhile");
    const pins = { [`localhost:${server.port}`]: "ab".repeat(32) };
    using client = await connectWith({
      rememberServer: async () => {
        await Bun.write(file, JSON.stringify(pins));
        return true;
      },
    });
    expect(client.rememberedIn).toBeUndefined();
    expect(known()).toEqual(pins);
  });

  test("a connection that breaks while the question is open does not end unnoticed", async () => {
    using relay = new Relay(server.port);
    const { connectWith } = await folder("broken", relay.port);
    const opened = connectWith({
      rememberServer: async () => {
        const broken = nextDisconnect();
        relay[Symbol.dispose]();
        await within(5_000, "the end of the connection", broken);
        return false;
      },
    });
    // The client may notice a moment after the server.
    const reason = await opened.then(
      (client) => within(5_000, "the end", new Promise((resolve) => client.once("closed", resolve))),
      (error: unknown) => error,
    );
    expect(reason).toMatchObject({ code: "unreachable" });
  });

  test("of a server that is rotating its key is kept together with the next one", async () => {
    const { new: next } = await beginServerRotation(inHere("certs"));
    const { connectWith, known } = await folder("rotating");
    const both = { [`localhost:${server.port}`]: [server.fingerprint, next] };
    using told = await connectWith({ certsDir: inHere("certs") });
    const announced = new Promise<void>((resolve) => {
      told.on("news", ({ kind }) => kind === "rotate" && resolve());
    });
    await within(5_000, "the announcement", announced);
    using client = await connectWith({ rememberServer: true });
    expect(client.isConnected).toBe(true);
    expect(known()).toEqual(both);
  });
});
