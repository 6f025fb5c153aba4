import { afterAll, beforeAll, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { resolveTarget } from "../../src/client/connect-target.ts";
import { ReconnectingConnection } from "../../src/client/reconnecting-connection.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { AnsweringServer } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { Relay } from "../helpers/relay.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { eventually } from "../helpers/within.ts";

let identities: { server: Identity; client: Identity };
let certs: { path: string } & AsyncDisposable;

beforeAll(async () => {
  identities = { server: await newIdentity("server"), client: await newIdentity("client") };
  certs = await temporaryDirectory();
});
afterAll(() => certs[Symbol.asyncDispose]());

/** A connection through a relay that can cut it, and the events of its handler. */
async function open(options: { reconnect?: boolean; waitForConnection?: boolean } = {}) {
  const server = new AnsweringServer(identities.server);
  const relay = new Relay(server.port);
  const target = await resolveTarget({
    host: "127.0.0.1",
    port: relay.port,
    certsDir: certs.path,
    identity: identities.client,
    serverFingerprint: identities.server.fingerprint,
  });
  const events: string[] = [];
  const connection: ReconnectingConnection = new ReconnectingConnection(target, options, {
    sync: async () => void (await connection.request("mod", "sync", "{}")),
    news: ({ kind }) => void events.push(kind),
    disconnected: ({ code }, retryMs) =>
      void events.push(`disconnected ${code}, ${retryMs === undefined ? "no retry" : "retry"}`),
    reconnected: () => void events.push("reconnected"),
    closed: ({ code }) => void events.push(`closed ${code}`),
  });
  return {
    server,
    relay,
    connection,
    events,
    [Symbol.dispose]() {
      connection.close(closed());
      relay[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

const closed = () => new VeripyError("closed", "closed by the test");

test("a connection that breaks is made again and synced; the break and the reconnect are each reported once", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  const first = at.connection.current;
  at.relay.cutAll();
  await eventually("the next connection", () => at.events.includes("reconnected"));
  expect(at.events).toEqual(["disconnected unreachable, retry", "reconnected"]);
  expect(at.connection.current).not.toBe(first);
  expect((await at.connection.request("sys", "ping", "{}")).type).toBe("pong");
});

test("a connection that breaks without 'reconnect' is closed for good", async () => {
  using at = await open();
  await at.connection.join();
  at.relay.cutAll();
  await eventually("the end", () => at.connection.isClosed);
  expect(at.events).toEqual(["disconnected unreachable, no retry", "closed unreachable"]);
  expect(() => at.connection.required()).toThrow(
    expect.objectContaining({ code: "unreachable", started: false }),
  );
});

test("without a connection requests fail as not sent, and calls can wait at the gate", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  at.relay.cutAll();
  await eventually("the break", () => at.connection.current === undefined);
  expect(() => at.connection.required()).toThrow(
    expect.objectContaining({ code: "unreachable", started: false }),
  );
  await at.connection.gate?.wait(10_000);
  expect(at.connection.current).toBeDefined();
});

test("there is no gate without 'reconnect', or with waitForConnection: false", async () => {
  for (const options of [{}, { reconnect: true, waitForConnection: false }]) {
    using at = await open(options);
    expect(at.connection.gate).toBeUndefined();
  }
});

test("a first connection that ends during its sync rejects, and causes no events", async () => {
  using at = await open({ reconnect: true });
  at.server.script = (_, asker) => {
    asker.end();
    return "";
  };
  await expect(at.connection.join()).rejects.toMatchObject({ code: "untrusted" });
  expect([at.connection.current, at.events]).toEqual([undefined, []]);
});

test("closing between two attempts ends the attempts and the waiting calls, and is reported once", async () => {
  using at = await open({ reconnect: true });
  await at.connection.join();
  at.server[Symbol.dispose]();
  await eventually("the break", () => at.events.length > 0);
  const waiting = at.connection.gate?.wait(10_000);
  at.connection.close(closed());
  at.connection.close(closed());
  await expect(waiting).rejects.toMatchObject({ code: "closed" });
  expect(at.events.at(-1)).toBe("closed closed");
  expect(at.events.filter((event) => event.startsWith("closed"))).toHaveLength(1);
});
