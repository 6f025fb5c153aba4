import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import { dial, request } from "../helpers/frames.ts";
import { newIdentity, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

type Entry = Record<string, unknown>;

const maxSize = 4_096;

describe("an exec stays in a small audit log", () => {
  let site: Site;
  let server: Running;

  beforeEach(async () => {
    site = await Site.create();
    const size = ["--audit-max-size", String(maxSize), "--audit-keep", "1"];
    server = await site.start(["--audit", "audit.log", ...size, "--handshake-burst", "1000"]);
    using client = await dial(site.port, site.certs);
    const { payload } = await request(client, "mod:exec", { mod: "hello.ts", args: "" }, "kept");
    expect(payload).toHaveProperty("result");
  });
  afterEach(() => site[Symbol.asyncDispose]());

  /** Stops the server, so that everything is written, and reads all files of the log. */
  async function mustBeKept(): Promise<Entry[]> {
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
    const names = (await readdir(site.path)).filter((name) => name.startsWith("audit.log"));
    const texts = await Promise.all(names.map((name) => Bun.file(join(site.path, name)).text()));
    for (const name of names) expect((await stat(join(site.path, name))).size).toBeLessThanOrEqual(maxSize);
    const entries = texts.flatMap(jsonLines);
    expect(
      entries.filter(({ event, ref, code }) => event === "exec" && ref === "kept" && code === "ok"),
    ).toHaveLength(1);
    return entries;
  }

  async function clientWith(rights: Entry): Promise<Identity> {
    const identity = await newIdentity();
    await trust(site, { fingerprint: identity.fingerprint, name: "bob", ...rights });
    await server.line("Trusted keys changed");
    return identity;
  }

  const counted = (entries: Entry[], wanted: Entry) =>
    entries
      .filter((entry) => Object.entries(wanted).every(([key, value]) => entry[key] === value))
      .reduce((sum, { count }) => sum + Number(count ?? 1), 0);

  test("while strangers connect with fresh keys, without a key, and without TLS", async () => {
    const keys = await Promise.all(Array.from({ length: 50 }, () => newIdentity()));
    for (const identity of [...keys, undefined, undefined]) {
      using stranger = await LineClient.connect({
        port: site.port,
        ...(identity === undefined ? {} : { identity }),
      });
      await within(5_000, "the refusal", stranger.closed);
    }
    for (let count = 0; count < 200; count++) {
      const { promise, resolve } = Promise.withResolvers<void>();
      await Bun.connect({
        hostname: "127.0.0.1",
        port: site.port,
        socket: {
          open: (socket) => void socket.write("GET / HTTP/1.0\r\n\r\n"),
          close: () => resolve(),
          data: () => {},
        },
      });
      await within(5_000, "the refusal", promise);
    }
    const entries = await mustBeKept();
    expect(counted(entries, { event: "refused", reason: "untrusted", network: "127.0.0.1" })).toBeGreaterThan(
      0,
    );
    expect(counted(entries, { event: "refused", reason: "handshake_failed" })).toBe(200);
  });

  test.each([
    ["nothing", { actions: [] }, "forbidden"],
    ["only list", { actions: ["sync"] }, "forbidden"],
    ["run no module that there is", { modules: ["none.ts"] }, "forbidden"],
  ])("while a client that may %s sends thousands of requests", async (_, rights, code) => {
    const identity = await clientWith(rights);
    using client = await LineClient.connect({ port: site.port, identity, keepsLines: false });
    const requests = [
      'exec:1 {"mod":"hello.ts","args":"x"}',
      "sync:1 {}",
      "stats:1 {}",
      'verify:1 {"mod":"hello.ts"}',
    ];
    client.send(
      requests
        .map((each) => `mod:${each}\n`)
        .join("")
        .repeat(1_000),
    );
    using last = await LineClient.connect({ port: site.port, identity });
    await drained(client);
    last.send("sys:ping:1 {}\n");
    await last.line("sys:pong:1");
    const entries = await mustBeKept();
    expect(counted(entries, { event: "exec", code, name: "bob" })).toBe(1_000);
    expect(counted(entries, { event: "sync", name: "bob" })).toBe(1_000);
  });

  test("while a client without permissions connects and disconnects in a loop", async () => {
    const identity = await clientWith({ actions: [] });
    for (let count = 0; count < 100; count++) {
      using client = await LineClient.connect({ port: site.port, identity });
      client.send("no frame\n");
      await within(5_000, "the end", client.closed);
    }
    const entries = await mustBeKept();
    expect(counted(entries, { event: "connected", name: "bob" })).toBe(100);
    expect(counted(entries, { event: "disconnected", name: "bob" })).toBe(100);
  });

  /** Until the answer to a last request is there. */
  async function drained(client: LineClient): Promise<void> {
    let received = -1;
    while (client.unsentBytes > 0 || client.received !== received) {
      received = client.received;
      await Bun.sleep(200);
    }
  }
});
