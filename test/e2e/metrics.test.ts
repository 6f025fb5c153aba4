import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { hostFilter } from "../../src/server/observers/metrics-host.ts";
import { dial, request } from "../helpers/frames.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

interface Sample {
  readonly name: string;
  readonly labels: Record<string, string>;
  readonly value: number;
}

/**
 * Parses an exposition by the grammar of OpenMetrics 1.0 (`https://prometheus.io/docs/specs/om/open_metrics_spec/`),
 * and throws for what is not of it: a sample without its family's TYPE, a family that is there twice, or an end other
 * than `# EOF`.
 */
function parseOpenMetrics(text: string): Sample[] {
  if (!text.endsWith("# EOF\n")) throw new Error(`It ends with ${JSON.stringify(text.slice(-20))}.`);
  const types = new Map<string, string>();
  const samples: Sample[] = [];
  for (const line of text.slice(0, -"# EOF\n".length).split("\n").slice(0, -1)) {
    const type = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line);
    const sample = /^([a-z_]+)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(line);
    if (type !== null) {
      const [, name = "", kind = ""] = type;
      if (types.has(name)) throw new Error(`${name} is there twice.`);
      types.set(name, kind);
    } else if (sample !== null) {
      const [, name = "", labels = "", value] = sample;
      const family = name.replace(/_(total|bucket|sum|count)$/, "");
      const kind = types.get(name) ?? types.get(family);
      if (kind === undefined) throw new Error(`No TYPE before: ${line}`);
      if (kind === "counter" && !name.endsWith("_total"))
        throw new Error(`A counter without _total: ${line}`);
      samples.push({ name, labels: parseLabels(labels), value: Number(value) });
    } else if (!/^# (HELP|UNIT) [a-z_]+ .+$/.test(line)) throw new Error(`Not of OpenMetrics: ${line}`);
  }
  return samples;
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  const pattern = /([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y;
  while (pattern.lastIndex < text.length) {
    const [, name = "", value = ""] = pattern.exec(text) ?? [];
    if (name === "") throw new Error(`Not a list of labels: ${text}`);
    labels[name] = value;
  }
  return labels;
}

/** Where a server that was told `--metrics 0` serves them. */
async function metricsOf(server: Running): Promise<string> {
  const line = await server.line("Metrics are at");
  return /http:\/\/[^/]+/.exec((JSON.parse(line) as { message: string }).message)?.[0] ?? "";
}

const crash = "export const execute = async () => process.exit(7);";

describe("metrics", () => {
  let site: Site;
  let server: Running;
  let url: string;

  beforeAll(async () => {
    site = await Site.create({ "crash.ts": crash });
    server = await site.start(["--metrics", "0"]);
    url = await metricsOf(server);
  });
  afterAll(() => site[Symbol.asyncDispose]());

  async function scrape(): Promise<Sample[]> {
    return parseOpenMetrics(await (await fetch(`${url}/metrics`)).text());
  }

  async function value(name: string, labels: Record<string, string> = {}): Promise<number> {
    const samples = (await scrape()).filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([key, wanted]) => sample.labels[key] === wanted),
    );
    return samples.reduce((sum, sample) => sum + sample.value, 0);
  }

  test("are on loopback unless told otherwise", () => {
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });

  test("are OpenMetrics text, also for names that a label must escape", async () => {
    using client = await dial(site.port, site.certs);
    await request(client, "mod:exec", { mod: 'quo"te\\and\nline.ts', args: "" });
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get("content-type")).toStartWith("application/openmetrics-text; version=1.0.0");
    const names = new Set(parseOpenMetrics(await response.text()).map(({ name }) => name));
    for (const name of [
      "veripy_connections_total",
      "veripy_refusals_total",
      "veripy_request_seconds_bucket",
      "veripy_module_changes_total",
      "veripy_clients",
      "veripy_calls_in_flight",
      "veripy_queued_bytes",
      "veripy_modules",
      "veripy_host_restarts",
      "veripy_host_memory_bytes",
      "veripy_memory_bytes",
    ]) {
      if (name !== "veripy_refusals_total") expect(names).toContain(name);
    }
  });

  test("count connections, and the current clients", async () => {
    const before = await value("veripy_connections_total");
    const connected = await value("veripy_clients");
    const clients = await Promise.all([1, 2, 3].map(() => dial(site.port, site.certs)));
    for (const client of clients) await request(client, "sys:ping", {});
    expect(await value("veripy_connections_total")).toBe(before + 3);
    expect(await value("veripy_clients")).toBe(connected + 3);
    for (const client of clients) client.terminate();
    await eventually("the clients to be gone", async () => (await value("veripy_clients")) === connected);
  });

  test("count refusals by reason", async () => {
    using bare = await dial(site.port);
    await bare.closed;
    const stranger = await site.newClient("stranger");
    using unknown = await dial(site.port, stranger.certs);
    await unknown.closed;
    await eventually("both", async () => {
      const reasons = await Promise.all(
        ["no_certificate", "untrusted"].map((reason) => value("veripy_refusals_total", { reason })),
      );
      return reasons.every((count) => count === 1);
    });
  });

  test("count requests by action, module and code, and how long they took", async () => {
    using client = await dial(site.port, site.certs);
    const labels = { action: "exec", mod: "hello.ts", code: "ok" };
    const before = await value("veripy_request_seconds_count", labels);
    for (let index = 0; index < 5; index++) {
      await request(client, "mod:exec", { mod: "hello.ts", args: "" }, `${index}`);
    }
    expect(await value("veripy_request_seconds_count", labels)).toBe(before + 5);
    const seconds = await value("veripy_request_seconds_sum", labels);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(5);
    const buckets = (await scrape()).filter(
      ({ name, labels: { action, mod } }) =>
        name === "veripy_request_seconds_bucket" && action === "exec" && mod === "hello.ts",
    );
    const counts = buckets.map((bucket) => bucket.value);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(buckets.at(-1)).toMatchObject({ labels: { le: "+Inf" }, value: before + 5 });
  });

  test("have no time series for names that clients make up", async () => {
    using client = await dial(site.port, site.certs);
    for (let index = 0; index < 20; index++) {
      await request(client, "mod:exec", { mod: `invented-${index}.ts`, args: "" }, `${index}`);
    }
    const invented = (await scrape()).filter(({ labels }) => labels.mod?.startsWith("invented"));
    expect(invented).toEqual([]);
    expect(
      await value("veripy_request_seconds_count", { mod: "", code: "not_found" }),
    ).toBeGreaterThanOrEqual(20);
  });

  test("count changes of modules, and what runs", async () => {
    const [loads, modules] = [
      await value("veripy_module_changes_total", { kind: "modload" }),
      await value("veripy_modules"),
    ];
    await site.write("fresh.ts", "export const execute = async () => 'fresh';");
    await eventually("the module", async () => (await value("veripy_modules")) === modules + 1);
    expect(await value("veripy_module_changes_total", { kind: "modload" })).toBe(loads + 1);
    await site.write("broken.ts", "export const nothing = 1;");
    await eventually(
      "the error",
      async () => (await value("veripy_module_changes_total", { kind: "moderror" })) === 1,
    );
    expect(await value("veripy_host_memory_bytes")).toBeGreaterThan(1024 * 1024);
    expect(await value("veripy_memory_bytes")).toBeGreaterThan(1024 * 1024);
  });

  test("count hosts that were restarted", async () => {
    using client = await dial(site.port, site.certs);
    await request(client, "mod:exec", { mod: "crash.ts", args: "" }, "1");
    await request(client, "mod:exec", { mod: "crash.ts", args: "" }, "2");
    await eventually("the restart to be counted", async () => (await value("veripy_host_restarts")) >= 1);
  });

  /** Status and body of a request with exactly these header lines. */
  async function ask(path: string, version: string, headers: string): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    let received = "";
    await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(new URL(url).port),
      socket: {
        open: (socket) =>
          void socket.write(`GET ${path} HTTP/${version}\r\n${headers}Connection: close\r\n\r\n`),
        data: (_, chunk) => {
          received += new TextDecoder().decode(chunk);
        },
        close: () => resolve(received),
      },
    });
    return within(5_000, "an answer", promise);
  }

  test.each(["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.10:9100", "[::1]", "[::1]:9100"])(
    "answer requests for %s",
    async (host) => {
      expect(await ask("/metrics", "1.1", `Host: ${host}\r\n`)).toMatch(/^HTTP\/1\.1 200 .*veripy_clients/s);
    },
  );

  test.each([
    ["evil.example"],
    ["evil.example:9100"],
    ["127.0.0.1.evil.example"],
    ["localhost.evil.example"],
    ["localhost@evil.example"],
    ["10.0.0.1"],
    ["[2001:db8::1]"],
    ["0.0.0.0"],
    ["localhost\r\nHost: evil.example"],
    [""],
  ])("are not for a web page whose name resolves to this machine: '%s'", async (host) => {
    for (const path of ["/metrics", "/healthz", "/readyz", "/"]) {
      const answer = await ask(path, "1.1", `Host: ${host}\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 (421|400) /);
      expect(answer).not.toContain("veripy_clients");
    }
  });

  test("say what to ask for when the host is wrong", async () => {
    const answer = await ask("/metrics", "1.1", "Host: evil.example\r\n");
    expect(answer).toStartWith("HTTP/1.1 421 ");
    expect(answer).toContain("must be localhost, a loopback address, or 127.0.0.1 as given to --metrics.");
  });

  test("answer a client without a Host header, which is not a browser", async () => {
    expect(await ask("/healthz", "1.0", "")).toMatch(/^HTTP\/1\.1 200 .*ok/s);
  });

  test("are read-only, and nothing else is served", async () => {
    expect((await fetch(`${url}/`)).status).toBe(404);
    expect((await fetch(`${url}/../certs/server.key`)).status).toBe(404);
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/readyz`)).text()).toBe("ready\n");
  });
});

describe("the host that --metrics names", () => {
  test.each([
    ["metrics.example", "metrics.example:9100", true],
    ["metrics.example", "METRICS.example", true],
    ["metrics.example", "127.0.0.1:9100", true],
    ["metrics.example", "example", false],
    ["10.0.0.5", "10.0.0.5:9100", true],
    ["10.0.0.5", "10.0.0.6:9100", false],
    ["2001:DB8::1", "[2001:db8::1]:9100", true],
    ["2001:db8::1", "[2001:db8::2]", false],
    ["0.0.0.0", "10.0.0.5:9100", true],
    ["::", "[2001:db8::2]", true],
    ["0.0.0.0", "evil.example", false],
    ["::", "10.evil.example", false],
  ])("%s, asked as %s: %p", (hostname, host, isMeant) => {
    expect(hostFilter(hostname)(host)).toBe(isMeant);
  });
});

test("a server that is stopping is healthy but not ready, until it has stopped", async () => {
  const slow = "export const execute = async () => { await Bun.sleep(1_500); return 'done'; };";
  await using site = await Site.create({ "slow.ts": slow });
  const server = await site.start(["--metrics", "127.0.0.1:0"]);
  const url = await metricsOf(server);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  using client = await dial(site.port, site.certs);
  client.send('mod:exec:1 {"mod":"slow.ts","args":""}\n');
  await request(client, "sys:ping", {}, "2");
  server.process.kill("SIGTERM");
  await client.line("sys:drain:");
  expect((await fetch(`${url}/readyz`)).status).toBe(503);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await client.line("mod:exec_resp:1")).toContain("done");
  expect(await server.ended()).toBe(0);
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
});

test("a metrics address that cannot be used is an error at the start, and leaves nothing running", async () => {
  await using site = await Site.create();
  const server = await site.start(["--metrics", "0"]);
  const { port } = new URL(await metricsOf(server));
  const { exitCode, stderr } = await site.manage(["--port", "0", "--metrics", port]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(`Cannot serve metrics on 127.0.0.1:${port}`);
});
