import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { defaultLimits } from "../../src/index.ts";
import { dial, request } from "../helpers/frames.ts";
import type { Running } from "../helpers/processes.ts";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

const streams = `export const limits = { execMs: 5_000 };
export const permissions = { run: ["uname"] };
export const input = { type: "string", maxLength: 1000 };
export async function* execute(args: string, context: any) {
  context.progress(0.5, "half");
  console.log("a line");
  yield args;
  if (args === "fail") throw new Error("failed");
  return "done";
}
`;
const importing = `import { words } from "./lib/words.ts";\nexport const execute = () => words;\n`;

let site: Site;
let server: Running;
/** Every record that was seen, with where. */
const seen: { where: string; record: Record<string, unknown> }[] = [];

beforeAll(async () => {
  site = await Site.create({
    "streams.ts": streams,
    "importing.ts": importing,
    "lib/words.ts": "export const words = 'words';\n",
  });
  server = await site.start(["--log-level", "trace", "--audit", "audit.log"]);
});
afterAll(() => site[Symbol.asyncDispose]());

function see(where: string, ...records: object[]): void {
  for (const record of records) seen.push({ where, record: record as Record<string, unknown> });
}

/** Keys that are not snake_case, by their path. A module's own schema, in `input`, is its business. */
function oddKeys(value: unknown, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => oddKeys(item, path));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    ...(/^[a-z0-9_]+$/.test(key) ? [] : [`${path}.${key}`]),
    ...(key === "input" ? [] : oddKeys(inner, `${path}.${key}`)),
  ]);
}

test("every field of --json, of the log, of the wire and of the files is in snake_case", async () => {
  const client = async (args: string[]) =>
    see(`client ${args[0]}`, ...jsonLines((await site.call([...args, "--json"])).stdout));
  const manage = async (...args: string[]) =>
    see(`server ${args[0]}`, ...jsonLines((await site.manage([...args, "--json"])).stdout));

  const watching = site.watch(["--json"]);
  await watching.line('"cause":"sync"');
  await site.write("new.ts", streams);
  await watching.line('"event":"modload"');
  await site.write("new.ts", `${streams}// edited\n`);
  await watching.line('"event":"modreload"');
  await site.write("new.ts", "not a module");
  await watching.line('"event":"moderror"');
  await rm(join(site.path, "mods/new.ts"));
  await watching.line('"event":"modunload"');

  await client(["list"]);
  await client(["verify"]);
  await client(["describe", "streams"]);
  await client(["--json", "exec", "streams", "words"]);
  await client(["--json", "exec", "streams", "fail"]);
  await client(["modules"]);
  await client(["fingerprint"]);
  await client(["init"]);
  await client(["verify", "nothing"]);
  using liar = await ScriptedServer.start(site.certs, { "hello.ts": { content: streams } });
  liar.lies = { sync: ([report]) => Object.assign(report ?? {}, { sum: "0".repeat(64) }) };
  await client(["verify", "--port", String(liar.port)]);

  await manage("fingerprint");
  await manage("init");
  await manage("check");
  await manage("check", "none");
  const { certs, fingerprint } = await site.newClient("other");
  await manage("trust", fingerprint, "--name", "other");
  await manage("untrust", "other");
  await Bun.write(join(site.path, "assertions"), "local may exec hello.ts\nlocal may not sync\n");
  await manage("policy", "test", "assertions");
  const [invited] = jsonLines((await site.manage(["invite", "--name", "guest", "--json"])).stdout);
  see("server invite", invited ?? {});
  see("invitations.json", JSON.parse(await readFile(join(site.certs, "invitations.json"), "utf8")) as object);
  await rm(join(certs, "server.crt"));
  const joining = ["join", `localhost:${site.port}`, String(invited?.code), "--certs", certs];
  await client(joining);
  await client(["rotate", "--certs", certs]);
  await manage("rotate");
  await watching.line('"event":"rotate"');
  await manage("rotate", "--finish");

  using wire = await dial(site.port, site.certs);
  for (const [header, payload] of [
    ["mod:sync", {}],
    ["mod:verify", { mod: "importing.ts" }],
    ["mod:exec", { mod: "streams.ts", args: "x" }],
    ["mod:stats", {}],
    ["sys:info", {}],
    ["sys:ping", {}],
    ["sys:rotate", {}],
    ["mod:nothing", {}],
  ] as const) {
    const { payload: answer } = await request(wire, header, payload, header.replace(":", "-"));
    see(`wire ${header}`, answer);
  }
  for (const line of wire.lines) see("wire", JSON.parse(line.slice(line.indexOf("{"))) as object);

  server.process.kill("SIGTERM");
  await server.ended();
  await watching.line('"event":"disconnected"');
  await site.start(["--audit", "audit.log"]);
  await watching.line('"event":"reconnected"');
  see("watch", ...jsonLines(watching.stdout.join("\n")));
  see("log", ...jsonLines(server.stderr.join("\n")));
  see("audit", ...jsonLines(await readFile(join(site.path, "audit.log"), "utf8")));
  see(
    "trusted-keys.json",
    JSON.parse(await readFile(join(site.path, "trusted-keys.json"), "utf8")) as object,
  );

  expect([...new Set(seen.flatMap(({ where, record }) => oddKeys(record, where)))]).toEqual([]);

  // That it saw what has more than one word, and the names that are promised.
  const keysOf = (where: string) =>
    new Set(seen.flatMap((one) => (one.where === where ? Object.keys(one.record) : [])));
  expect([...keysOf("client modules")]).toEqual(
    expect.arrayContaining(["memory_bytes", "in_flight", "p50_ms", "p99_ms"]),
  );
  for (const where of ["wire mod:verify", "client list", "client verify", "client describe", "server check"])
    expect(keysOf(where)).toContain("described_by");
  expect(keysOf("client rotate")).toContain("left_out");
  expect(keysOf("watch")).toContain("retry_ms");
  const [info] = seen.filter(({ where }) => where === "wire sys:info");
  expect(info?.record.limits).toMatchObject({
    handshake_ms: defaultLimits.handshakeMs,
    max_line_bytes: defaultLimits.maxLineBytes,
  });
  const listening = seen.find(({ record }) => String(record.message).startsWith("Listening on "));
  expect(listening?.record).toMatchObject({
    addresses: expect.arrayContaining([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]),
    port: expect.any(Number),
    fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});
