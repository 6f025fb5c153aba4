import { afterAll, beforeAll, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { resolveTarget } from "../../src/client/connect-target.ts";
import { ReconnectingConnection } from "../../src/client/reconnecting-connection.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { AnsweringServer } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { TcpProxy } from "../helpers/tcp-proxy.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { eventually } from "../helpers/within.ts";

let identities: { server: Identity; client: Identity };
let certs: { path: string } & AsyncDisposable;

beforeAll(async () => {
  identities = { server: await newIdentity("server"), client: await newIdentity("client") };
  certs = await temporaryDirectory();
});
afterAll(() => certs[Symbol.asyncDispose]());

/** A connection through a proxy that can cut it, and what its handler was told. */
async function open(options: { reconnect?: boolean; waitForConnection?: boolean } = {}) {
  const server = new AnsweringServer(identities.server);
  const proxy = new TcpProxy(server.port);
  const target = await resolveTarget({
    host: "127.0.0.1",
    port: proxy.port,
    certsDir: certs.path,
    identity: identities.client,
    serverFingerprint: identities.server.fingerprint,
  });
  const told: string[] = [];
  const connection: ReconnectingConnection = new ReconnectingConnection(target, options, {
    sync: async () => void (await connection.request("mod", "sync", "{}")),
    news: ({ kind }) => void told.push(kind),
    disconnected: ({ code }, retryMs) =>
      void told.push(`disconnected ${code}, ${retryMs === undefined ? "no retry" : "retry"}`),
    reconnected: () => void told.push("reconnected"),
    closed: ({ code }) => void told.push(`closed ${code}`),
  });
  return {
    server,
    proxy,
    connection,
    told,
    [Symbol.dispose]() {
      connection.close(closed());
      proxy[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

const closed = () => new VeripyError("closed", "closed by the test");

test("one that breaks is made again and synced; each side of the break is told once", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  const first = at.connection.current;
  at.proxy.cutAll();
  await eventually("the next connection", () => at.told.includes("reconnected"));
  expect(at.told).toEqual(["disconnected unreachable, retry", "reconnected"]);
  expect(at.connection.current).not.toBe(first);
  expect((await at.connection.request("sys", "ping", "{}")).type).toBe("pong");
});

test("without 'reconnect' one that breaks is closed for good", async () => {
  using at = await open();
  await at.connection.join();
  at.proxy.cutAll();
  await eventually("the end", () => at.connection.isClosed);
  expect(at.told).toEqual(["disconnected unreachable, no retry", "closed unreachable"]);
  expect(() => at.connection.required()).toThrow(
    expect.objectContaining({ code: "unreachable", started: false }),
  );
});

test("while there is none, requests fail at once and as not sent, and calls can wait at the gate", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  at.proxy.cutAll();
  await eventually("the break", () => at.connection.current === undefined);
  expect(() => at.connection.required()).toThrow(
    expect.objectContaining({ code: "unreachable", started: false }),
  );
  await at.connection.gate?.wait(10_000);
  expect(at.connection.current).toBeDefined();
});

test("there is no gate to wait at unless it reconnects, nor with waitForConnection: false", async () => {
  for (const options of [{}, { reconnect: true, waitForConnection: false }]) {
    using at = await open(options);
    expect(at.connection.gate).toBeUndefined();
  }
});

test("a first connection that ends during its sync is a rejection, and nothing else", async () => {
  using at = await open({ reconnect: true });
  at.server.script = (_, asker) => {
    asker.end();
    return "";
  };
  await expect(at.connection.join()).rejects.toMatchObject({ code: "untrusted" });
  expect([at.connection.current, at.told]).toEqual([undefined, []]);
});

test("closing between two attempts ends the attempts and the waiting calls, and is told once", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  at.server[Symbol.dispose]();
  await eventually("the break", () => at.told.length > 0);
  const waiting = at.connection.gate?.wait(10_000);
  at.connection.close(closed());
  at.connection.close(closed());
  await expect(waiting).rejects.toMatchObject({ code: "closed" });
  expect(at.told.at(-1)).toBe("closed closed");
  expect(at.told.filter((event) => event.startsWith("closed"))).toHaveLength(1);
});
