import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { loadIdentity } from "../../src/index.ts";
import { LineClient } from "../helpers/line-client.ts";
import { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(30_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "fails.ts": "export const execute = () => { throw new Error('no'); };\n",
  });
});
afterAll(() => site?.[Symbol.asyncDispose]());

const calls = (server: Running) =>
  server.stderr.map((line) => JSON.parse(line)).filter(({ message }) => / called /.test(message));

test("with --log-calls each call is a line: who, which module and version, how it ended, how long it took", async () => {
  const fingerprint = (
    JSON.parse((await site.call(["fingerprint", "--json"])).stdout) as { fingerprint: string }
  ).fingerprint;
  await using server = await site.start(["--log-calls"]);
  expect((await site.call(["exec", "hello", "World"])).exitCode).toBe(0);
  expect((await site.call(["exec", "fails"])).exitCode).toBe(1);
  await server.line("called fails.ts");
  const [good, bad] = calls(server);
  expect(good).toMatchObject({ level: "info", who: fingerprint, mod: "hello.ts", code: "ok" });
  expect(good.tree).toMatch(/^[0-9a-f]{64}$/);
  expect(good.ms).toBeGreaterThan(0);
  expect(good.message).toBe(`${fingerprint} called hello.ts ${good.tree.slice(0, 16)}: ok in ${good.ms} ms`);
  expect(bad).toMatchObject({ mod: "fails.ts", code: "exec_failed" });
  // Only calls, not what else a client asks for.
  expect(calls(server)).toHaveLength(2);
});

test("without it no call is logged", async () => {
  await using server = await site.start();
  expect((await site.call(["exec", "hello"])).exitCode).toBe(0);
  server.process.kill("SIGTERM");
  await server.ended();
  await server.line("Stopped");
  expect(calls(server)).toEqual([]);
});

test("a line has no escape sequence that a client sent as the name of a module", async () => {
  await using server = new Running([site.server, "--port", "0", "--log-calls"], { cwd: site.path });
  const port = Number(
    /:(\d+)/.exec((await server.line("Listening on ")).split("Listening on ")[1] ?? "")?.[1],
  );
  using client = await LineClient.connect({ port, identity: await loadIdentity(site.certs, "client") });
  client.send('mod:exec:1 {"mod":"\\u001b[31mred\\nline.ts","args":""}\n');
  const line = await server.line(/ called /);
  expect(line).toContain("red");
  expect(line.split(" called ")[1]).not.toMatch(/[\x00-\x1f]/);
});
