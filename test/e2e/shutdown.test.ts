import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { dial, request } from "../helpers/frames.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { gone, isAlive } from "../helpers/versions.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const modules = {
  /** Answers after as many milliseconds as its arguments say, with the id of its process. */
  "slow.ts": `export async function execute(args: string) {
  await Bun.sleep(Number(args));
  return String(process.pid);
}
`,
};

/** The processes of the module hosts. */
async function hostsOf(site: Site): Promise<number[]> {
  const { stdout } = await site.call(["--json", "modules"]);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { pid: number }).pid);
}

async function running(flags: string[] = []): Promise<{ site: Site; server: Running; hosts: number[] }> {
  const site = await Site.create(modules);
  const server = await site.start(["--eager", ...flags]);
  const hosts = await hostsOf(site);
  expect(hosts).toHaveLength(2);
  expect(hosts.every(isAlive)).toBe(true);
  return { site, server, hosts };
}

describe.each(["SIGTERM", "SIGINT"] as const)("a server that gets %s", (signal) => {
  test("says so, lets calls in flight end, takes no new ones, and leaves no process behind", async () => {
    const { site, server, hosts } = await running();
    await using _ = site;
    using client = await dial(site.port, site.certs);
    await request(client, "mod:sync", {});
    const answer = request(client, "mod:exec", { mod: "slow.ts", args: "600" }, "in-flight");
    const beside = await request(client, "mod:exec", { mod: "slow.ts", args: "0" }, "beside");
    expect(beside.payload).toHaveProperty("result");

    server.process.kill(signal);
    await client.line("sys:drain:");
    const late = await request(client, "mod:exec", { mod: "slow.ts", args: "0" }, "late");
    expect(late.payload.code).toBe("shutting_down");
    expect((await site.call(["list"])).exitCode).toBe(3);

    expect(hosts.map(String)).toContain(String((await answer).payload.result));
    await within(3_000, "the connection to be closed", client.closed);
    expect(await server.ended()).toBe(0);
    for (const pid of hosts) await gone(pid, "a module host");
  });
});

test("a call that does not end is aborted after the shutdown time, and the server still exits with 0", async () => {
  const { site, server, hosts } = await running(["--shutdown-timeout", "300ms"]);
  await using _ = site;
  using client = await dial(site.port, site.certs);
  const answer = request(client, "mod:exec", { mod: "slow.ts", args: "20000" });
  await request(client, "sys:ping", {}, "p");
  server.process.kill("SIGTERM");
  expect((await answer).payload.code).toBe("shutting_down");
  expect(await server.ended(5_000)).toBe(0);
  for (const pid of hosts) await gone(pid, "a module host");
});

test("a second signal ends the server at once, hosts and all", async () => {
  const { site, server, hosts } = await running();
  await using _ = site;
  using client = await dial(site.port, site.certs);
  client.send('mod:exec:1 {"mod":"slow.ts","args":"20000"}\n');
  await request(client, "sys:ping", {}, "p");
  server.process.kill("SIGTERM");
  await client.line("sys:drain:");
  server.process.kill("SIGTERM");
  expect(await server.ended(1_000)).toBe(143);
  for (const pid of hosts) await gone(pid, "a module host");
});

test("a server that is killed leaves no module host behind, not even one that spins", async () => {
  const site = await Site.create({
    "spin.ts": "export async function execute() { for (;;); return ''; }\n",
  });
  await using _ = site;
  const server = await site.start();
  const hosts = await hostsOf(site);
  using client = await dial(site.port, site.certs);
  client.send('mod:exec:1 {"mod":"spin.ts","args":""}\n');
  await request(client, "sys:ping", {}, "p");
  server.process.kill("SIGKILL");
  await server.ended();
  for (const pid of hosts) await gone(pid, "a module host");
});

test("an interrupted exec of the client cancels its call on the server", async () => {
  const site = await Site.create({
    "patient.ts": `import type { ModuleContext } from "veripy";
export const execute = (_: string, { signal, log }: ModuleContext) =>
  new Promise<string>((resolve) => {
    log.info("waiting for the end");
    signal.addEventListener("abort", () => {
      log.info("heard of the end");
      resolve("");
    });
  });
`,
  });
  await using _ = site;
  const server = await site.start();
  const client = site.watch(["exec", "patient"]);
  await server.line("waiting for the end");
  client.process.kill("SIGINT");
  expect(await client.ended()).toBe(130);
  await server.line("heard of the end");
  expect([client.stdout, client.stderr]).toEqual([[], []]);
});
