import { describe, expect, test } from "bun:test";
import type { VeripyClient } from "../../src/index.ts";
import { hasSandbox, sandboxed } from "../helpers/sandboxed.ts";
import { Site } from "../helpers/site.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

// A call that fails for lack of a permission says which one, whatever function of the runtime was refused.

const imports = `
  import * as fs from "node:fs";
  import * as promises from "node:fs/promises";
  import * as net from "node:net";
  import * as http from "node:http";
  import * as cp from "node:child_process";
  import { pipeline } from "node:stream/promises";
  const told = (start: (done: (error?: unknown) => void) => unknown) =>
    new Promise<void>((resolve, reject) => start((error) => (error ? reject(error) : resolve())));
  const socket = { data() {} };
  const $ = process.env.TMPDIR;
`;

/** What execute does, and what it may not do. The last argument is a port that is not declared. */
const refused: Record<string, [action: string, sentence: string]> = {
  readFileSync: [`fs.readFileSync("/etc/passwd")`, "read /etc/passwd"],
  readdir: [`await promises.readdir("/srv")`, "read /srv"],
  createReadStream: [
    `await pipeline(fs.createReadStream("/etc/passwd"), async (s: AsyncIterable<unknown>) => { for await (const _ of s); })`,
    "read /etc/passwd",
  ],
  "Bun.file": [`await Bun.file("/etc/passwd").text()`, "read /etc/passwd"],
  "Bun.file().stream": [`for await (const _ of Bun.file("/etc/passwd").stream());`, "read /etc/passwd"],
  copyFileSync: [`fs.copyFileSync("/etc/passwd", $ + "/x")`, "read /etc/passwd"],
  writeFileSync: [`fs.writeFileSync("/srv/x", "x")`, "write /srv/x"],
  writeFile: [`await promises.writeFile("/srv/x", "x")`, "write /srv/x"],
  createWriteStream: [`await pipeline(["x"], fs.createWriteStream("/srv/x"))`, "write /srv/x"],
  "Bun.write": [`await Bun.write("/srv/x", "x")`, "write /srv/x"],
  "Bun.file().writer": [`const w = Bun.file("/srv/x").writer(); w.write("x"); await w.end()`, "write /srv/x"],
  symlink: [`fs.symlinkSync("/etc/passwd", "/srv/x")`, "write /srv/x"],
  "Bun.spawn": [`Bun.spawn(["ls"])`, "run ls"],
  "Bun.spawnSync": [`Bun.spawnSync(["ls"])`, "run ls"],
  spawn: [`await told((done) => cp.spawn("ls").on("error", done).on("exit", () => done()))`, "run ls"],
  spawnSync: [`const { error } = cp.spawnSync("ls"); if (error) throw error`, "run ls"],
  execFileSync: [`cp.execFileSync("ls")`, "run ls"],
  exec: [`await told((done) => cp.exec("ls", done))`, "run /bin/sh"],
  fetch: [`await fetch("http://127.0.0.1:" + port)`, "connect to port PORT"],
  "fetch by name": [`await fetch("http://localhost:" + port)`, "connect to port PORT"],
  "net.connect": [
    `await told((done) => net.connect(port, "127.0.0.1", () => done()).on("error", done))`,
    "connect to port PORT",
  ],
  "http.get": [
    `await told((done) => http.get("http://127.0.0.1:" + port, () => done()).on("error", done))`,
    "connect to port PORT",
  ],
  "Bun.connect": [`await Bun.connect({ hostname: "127.0.0.1", port, socket })`, "connect to port PORT"],
  "Bun.connect by name": [
    `await Bun.connect({ hostname: "localhost", port, socket })`,
    "connect to port PORT",
  ],
  "Bun.connect to a path": [
    `await Bun.connect({ unix: "/run/x.sock", socket })`,
    "connect to the Unix socket /run/x.sock",
  ],
  WebSocket: [
    `await told((done) => { new WebSocket("ws://127.0.0.1:" + port).onerror = (e) => done((e as ErrorEvent).error); })`,
    "connect to port PORT",
  ],
  "Bun.listen": [`Bun.listen({ hostname: "127.0.0.1", port, socket })`, "listen on "],
  "Bun.serve": [
    `Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response() })`,
    "listen on port PORT",
  ],
  "net.createServer": [
    `await told((done) => net.createServer().on("error", done).listen(port, "127.0.0.1", done))`,
    "listen on ",
  ],
};

/** A module that does each action, and then what the permission would be good for. */
function moduleOf(permissions: string): string {
  const actions = Object.entries(refused).map(
    ([name, [action]]) => `${JSON.stringify(name)}: async (port: number) => { ${action}; },`,
  );
  return `${imports}
    ${permissions}
    const actions: Record<string, (port: number) => Promise<void>> = { ${actions.join("\n")} };
    export async function execute(args: string) {
      const { name, port } = JSON.parse(args);
      await actions[name]!(port);
      return "done";
    }`;
}

describe.skipIf(!hasSandbox)(sandboxed("the sentence on the missing permission"), async () => {
  const port = 9; // discard: nothing listens on it
  const failure = (client: VeripyClient, mod: string, name: string) =>
    failureOf(client.exec(mod, JSON.stringify({ name, port })));

  test("comes for every function that the kernel refuses", async () => {
    await using site = await Site.create({
      "none.ts": moduleOf(""),
      "other.ts": moduleOf(
        `export const permissions = { read: ["/usr/share"], write: ["/var/tmp"], run: ["true"], connect: [443], listen: [8080] } as const;`,
      ),
    });
    await site.start();
    using client = await connectTo(site);
    for (const mod of ["none.ts", "other.ts"]) {
      for (const [name, [, sentence]] of Object.entries(refused)) {
        const expected = `exec_failed: ${mod} may not ${sentence.replace("PORT", String(port))}`;
        const actual = await failure(client, mod, name);
        expect(`${name}: ${actual.slice(0, expected.length)}`).toBe(`${name}: ${expected}`);
      }
    }
  });

  test("does not come where a connection to a declared port is refused by the other end", async () => {
    await using site = await Site.create({
      "m.ts": moduleOf(`export const permissions = { connect: [${port}] } as const;`),
    });
    await site.start();
    using client = await connectTo(site);
    for (const name of ["fetch", "fetch by name", "net.connect", "Bun.connect", "Bun.connect by name"])
      expect(await failure(client, "m.ts", name)).not.toContain("may not");
  });
});
