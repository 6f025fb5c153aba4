import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/identity/identity.ts";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { AnsweringServer, honestAnswer, honestFrame, servedModules } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

let identities: { server: Identity; client: Identity };
let certs: { path: string } & AsyncDisposable;

beforeAll(async () => {
  identities = { server: await newIdentity("server"), client: await newIdentity("client") };
  certs = await temporaryDirectory();
});
afterAll(() => certs[Symbol.asyncDispose]());

const [{ mod, sum, tree }] = servedModules as [(typeof servedModules)[number]];
const forged = "0".repeat(64);

/** Ways to write the same answer: as VeriPy's server does, whose text the client recognizes, and others. */
const writings: Readonly<Record<string, (answer: object) => string>> = {
  "as VeriPy's server writes it": (answer) => JSON.stringify(answer),
  "with an escape": (answer) => JSON.stringify(answer).replace('"mod"', '"\\u006dod"'),
  "with an extra field": (answer) => JSON.stringify({ ...answer, more: 1 }),
  "in another order": (answer) => JSON.stringify(Object.fromEntries(Object.entries(answer).reverse())),
};

/** A client of a server that answers each exec with these fields. */
async function connected(
  fields: object,
  write: (answer: object) => string,
): Promise<{ client: VeripyClient } & Disposable> {
  const server = new AnsweringServer(identities.server);
  server.script = (line) => {
    const { type, ref } = honestAnswer(line);
    if (type !== "mod:exec_resp") return honestFrame(line);
    return `${type}:${ref} ${write({ mod, result: "ran", sum, tree, ...fields })}\n`;
  };
  const options: ConnectOptions = {
    host: "127.0.0.1",
    port: server.port,
    identity: identities.client,
    serverFingerprint: identities.server.fingerprint,
    certsDir: certs.path,
  };
  const client = await connect(options);
  return {
    client,
    [Symbol.dispose]() {
      client.close();
      server[Symbol.dispose]();
    },
  };
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  const thrown = await call.catch((error: unknown) => error);
  return thrown instanceof VeripyError ? thrown.code : `no error, but ${JSON.stringify(thrown)}`;
}

describe.each(Object.entries(writings))("an answer written %s", (_, write) => {
  test("that names the verified version is the result", async () => {
    using server = await connected({}, write);
    expect(await server.client.exec(mod)).toEqual({ mod, result: "ran", sum, tree });
  });

  test.each([
    ["sum", { sum: forged }],
    ["tree", { tree: forged }],
    ["name", { mod: "other.ts" }],
  ])("with another %s is an error", async (_, fields) => {
    using server = await connected(fields, write);
    expect(await codeOf(server.client.exec(mod))).toBe("verification_failed");
    // The same when the caller names the tree that was verified.
    expect(await codeOf(server.client.exec(mod, "", { tree }))).toBe("verification_failed");
  });

  test("to a call that names only a tree has the sum if the tree proves it", async () => {
    using honest = await connected({}, write);
    expect(await honest.client.exec(mod, "", { tree })).toEqual({ mod, result: "ran", sum, tree });
    using liar = await connected({ sum: forged }, write);
    expect(await liar.client.exec(mod, "", { tree })).toEqual({ mod, result: "ran", tree });
  });
});
