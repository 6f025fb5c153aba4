import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import type { Target } from "./harness/commands.ts";
import { type Started, startServer } from "./harness/processes.ts";

type CommandLine = readonly [string, ...string[]];

/** Where the parts of a benchmark run are. */
export interface Place {
  /** Key and certificate of both sides, for every stack but VeriPy. */
  readonly certs: string;
  /** Keys, trust file and modules that `veripy-server init` made. */
  readonly veripy: string;
  /** Keys that no server trusts, in a folder per stack. */
  readonly strangers: string;
  /** Scripts that are bundled for Node. */
  readonly bundles: string;
}

export interface RunningServer {
  /** Every process that serves; their descendants are theirs. */
  readonly pids: readonly number[];
  readonly port: number;
  readonly startMs: number;
  stop(): Promise<void>;
}

export interface Stack {
  readonly id: string;
  readonly title: string;
  /** Undefined when it can be run here, else what is missing. */
  missing?(): string | undefined;
  start(place: Place): Promise<RunningServer>;
  /** The load generator's command. */
  generator(place: Place): CommandLine;
  /** How a raw connection gets a first answer; undefined: connections are opened by the stack's own client. */
  readonly raw?: Pick<Target, "hello" | "helloHex" | "alpn">;
  /** What makes the server broadcast a line. */
  readonly broadcast?: (place: Place) => { readonly file: string } | { readonly send: string };
  certs?(place: Place): string;
}

const here = import.meta.dir;
const root = dirname(dirname(here));
const bun = process.execPath;
const script = (path: string): string => join(here, path);
const bundle = (place: Place, name: string): string => join(place.bundles, `${name}.js`);

const ping = "sys:ping:hello {}\n";
const postHello = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nWorld";
/** The connection preface of HTTP/2 and an empty SETTINGS frame. */
const http2Hello = `${Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").toString("hex")}000000040000000000`;
const sendBroadcast = () => ({ send: "bench:broadcast:1 {}\n" });

export const stacks: readonly Stack[] = [
  {
    id: "raw",
    title: "raw Bun TLS echo",
    start: ({ certs }) => one([bun, script("servers/echo.ts"), certs]),
    generator: () => [bun, script("generators/echo.ts")],
    raw: { hello: ping },
  },
  {
    id: "bare",
    title: "bare in-process Bun server",
    start: ({ certs }) => one([bun, script("servers/bare.ts"), certs]),
    generator: () => [bun, script("generators/line.ts")],
    raw: { hello: ping },
    broadcast: sendBroadcast,
  },
  {
    id: "veripy",
    title: "VeriPy",
    start: startVeripy,
    generator: () => [bun, script("generators/veripy.ts")],
    raw: { hello: ping },
    broadcast: ({ veripy }) => ({ file: join(veripy, "mods", "hello.ts") }),
    certs: ({ veripy }) => join(veripy, "certs"),
  },
  {
    // The same server, driven by the bare server's own small client: what the two servers cost, nothing else.
    id: "veripy-line",
    title: "VeriPy, the bare server's client",
    start: startVeripy,
    generator: () => [bun, script("generators/line.ts")],
    raw: { hello: ping },
    certs: ({ veripy }) => join(veripy, "certs"),
  },
  {
    id: "grpc-node",
    title: "gRPC on Node",
    missing: () => missingProgram("node"),
    start: (place) => one(["node", "--tls-min-v1.3", bundle(place, "grpc-server"), place.certs]),
    generator: (place) => ["node", "--tls-min-v1.3", bundle(place, "grpc-client")],
    raw: { helloHex: http2Hello, alpn: "h2" },
  },
  {
    id: "grpc-bun",
    title: "gRPC on Bun",
    start: ({ certs }) => one([bun, script("peers/grpc-server.ts"), certs]),
    generator: () => [bun, script("peers/grpc-client.ts")],
    raw: { helloHex: http2Hello, alpn: "h2" },
  },
  {
    id: "nats-node",
    title: "NATS, clients on Node",
    missing: () => missingProgram("nats-server") ?? missingProgram("node"),
    start: (place) => startNats(place, ["node", bundle(place, "nats-responder")]),
    generator: (place) => ["node", bundle(place, "nats-client")],
  },
  {
    id: "nats-bun",
    title: "NATS, clients on Bun",
    missing: () => missingProgram("nats-server"),
    start: (place) => startNats(place, [bun, script("peers/nats-responder.ts")]),
    generator: () => [bun, script("peers/nats-client.ts")],
  },
  {
    id: "bun-https",
    title: "HTTPS on Bun.serve",
    missing: () => missingProgram("node"),
    start: ({ certs }) => one([bun, script("servers/bun-https.ts"), certs]),
    generator: (place) => ["node", bundle(place, "https")],
    raw: { hello: postHello },
  },
  {
    id: "node-https",
    title: "HTTPS on Node",
    missing: () => missingProgram("node"),
    start: (place) => one(["node", bundle(place, "node-https"), place.certs]),
    generator: (place) => ["node", bundle(place, "https")],
    raw: { hello: postHello },
  },
  {
    id: "python",
    title: "plain protocol on Python asyncio",
    missing: () => missingProgram("python3"),
    start: ({ certs }) => one(["python3", script("servers/plain.py"), certs]),
    generator: () => [bun, script("generators/line.ts")],
    raw: { hello: ping },
    broadcast: sendBroadcast,
  },
];

/** What runs on Node is bundled for it, as it would be for production; Bun takes the same files as they are. */
export async function bundleForNode(directory: string): Promise<void> {
  const files = [
    "peers/grpc-server.ts",
    "peers/grpc-client.ts",
    "peers/nats-responder.ts",
    "peers/nats-client.ts",
    "generators/https.ts",
    "servers/node-https.ts",
  ];
  await Bun.build({ entrypoints: files.map(script), outdir: directory, target: "node", naming: "[name].js" });
  writeFileSync(join(directory, "package.json"), '{"type":"module"}\n');
}

/** The limits that a benchmark from one address with one key would run into, and nothing else. */
const wideLimits = [
  ...[
    "--max-connections-per-key",
    "10000",
    "--max-handshakes-per-address",
    "1000",
    "--max-handshakes",
    "1000",
  ],
  ...["--handshake-rate", "1000000", "--handshake-burst", "1000000"],
  ...["--first-request-timeout", "10m"],
];

export const veripyServer = join(root, "dist", "veripy-server");
export const veripyClient = join(root, "dist", "veripy-client");

/** Throw-away keys, trust file and `hello.ts`, by the server's own `init`. */
export function initVeripy(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const made = spawnSync(veripyServer, ["init"], { cwd: directory, encoding: "utf8" });
  if (made.status !== 0) throw new Error(`'veripy-server init' failed: ${made.stderr}`);
}

/** Fills `mods` until it has `count` modules, all of them copies of `hello.ts`. */
export function fillMods(mods: string, count: number): void {
  for (let number = 1; number < count; number++) {
    copyFileSync(join(mods, "hello.ts"), join(mods, `hello-${String(number).padStart(3, "0")}.ts`));
  }
}

export async function startVeripy({ veripy }: Pick<Place, "veripy">): Promise<RunningServer> {
  return one(
    [
      ...([veripyServer, "start", "--interface", "127.0.0.1", "--port", "0", "--json"] as const),
      ...["--mods", join(veripy, "mods"), "--certs", join(veripy, "certs")],
      ...["--trusted-keys", join(veripy, "trusted-keys.json"), "--log-level", "info", ...wideLimits],
    ],
    veripyPort,
  );
}

/** The port in the server's line that it listens, with `--json`. */
function veripyPort(line: string): number | undefined {
  if (!line.startsWith("{")) return undefined;
  const { message, port } = JSON.parse(line) as { message: string; port?: unknown };
  return message.startsWith("Listening on ") && typeof port === "number" ? port : undefined;
}

async function one(
  command: CommandLine,
  portOf?: (line: string) => number | undefined,
): Promise<RunningServer> {
  const { pid, ...server } = await startServer(command, portOf);
  return { pids: [pid], ...server };
}

/** NATS is two processes on the serving side: the broker, and the one that answers. */
async function startNats({ certs }: Place, responder: CommandLine): Promise<RunningServer> {
  const port = await freePort();
  const config = join(certs, "nats.conf");
  writeFileSync(
    config,
    `listen: "127.0.0.1:${port}"
tls {
  cert_file: "${certs}/server.crt"
  key_file: "${certs}/server.key"
  ca_file: "${certs}/client.crt"
  verify: true
}
`,
  );
  const broker = await startServer(["nats-server", "-c", config], (line) =>
    line.includes("Server is ready") ? port : undefined,
  );
  let answering: Started | undefined;
  try {
    answering = await startServer([...responder, certs, String(port)]);
  } catch (error) {
    await broker.stop();
    throw error;
  }
  const { pid, startMs, stop } = answering;
  return {
    pids: [broker.pid, pid],
    port,
    startMs: broker.startMs + startMs,
    stop: async () => {
      await stop();
      await broker.stop();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("Cannot find a free port.");
  return address.port;
}

function missingProgram(name: string): string | undefined {
  return Bun.which(name) === null ? `${name} is not installed` : undefined;
}
