import { copyFileSync, cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeCertificates } from "./harness/certificates.ts";
import type { Command, Result, Target } from "./harness/commands.ts";
import { Generator, timeOf } from "./harness/processes.ts";
import { type Memory, memoryOf, type Usage, usageOf, usedBetween } from "./harness/procfs.ts";
import { spreadOf } from "./harness/statistics.ts";
import type { Samples } from "./results.ts";
import { fillMods, type Place, type RunningServer, type Stack, startVeripy, veripyClient } from "./stacks.ts";

export interface Settings {
  rounds: number;
  warmupMs: number;
  durationMs: number;
  /** Idle connections that memory is measured with. */
  connections: number;
  broadcastClients: number;
  broadcasts: number;
  edits: number;
  /** Starts of `veripy-client exec` and of `openssl s_client`. */
  processes: number;
  /** Readings of a memory figure, of which the lowest counts. */
  looks: number;
}

/** One round of one stack: a fresh server, its load, its handshakes, its memory. */
export async function measureStack(
  stack: Stack,
  place: Place,
  settings: Settings,
  samples: Samples,
): Promise<void> {
  const server = await stack.start(place);
  const certs = stack.certs?.(place) ?? place.certs;
  const target: Target = { host: "127.0.0.1", port: server.port, certs, ...stack.raw };
  const caller = new Generator(stack.generator(place), target);
  const opener = stack.raw === undefined ? caller : new Generator(rawGenerator, target);
  try {
    await expectStrangersRefused(stack, place, target);
    samples.add(stack.id, "start.listening", server.startMs);
    await measureMemory(stack, server, opener, settings, samples);
    await measureLoads(stack, server, caller, settings, samples);
    await measureHandshakes(stack, server, opener, settings, samples);
    if (stack.broadcast !== undefined) await measureBroadcast(stack, place, opener, settings, samples);
  } finally {
    await Promise.all([caller.stop(), opener.stop()]);
    await server.stop();
  }
}

const rawGenerator = [process.execPath, join(import.meta.dir, "generators", "raw.ts")] as const;

/** A stack that accepts every client would do less work than the others. */
async function expectStrangersRefused(stack: Stack, place: Place, target: Target): Promise<void> {
  const certs = join(place.strangers, stack.id);
  mkdirSync(certs, { recursive: true });
  makeCertificates(certs);
  // The server is the right one; only the client's own key is new.
  copyFileSync(join(target.certs, "server.crt"), join(certs, "server.crt"));
  const command = stack.raw === undefined ? stack.generator(place) : rawGenerator;
  const stranger = new Generator(command, { ...target, certs });
  const refused = await stranger.perform({ do: "hold", connections: 1 }).then(
    () => false,
    () => true,
  );
  await stranger.stop();
  if (!refused) throw new Error(`${stack.title} accepts a client whose key is not pinned.`);
}

async function measureLoads(
  { id }: Stack,
  server: RunningServer,
  generator: Generator,
  { warmupMs, durationMs }: Settings,
  samples: Samples,
): Promise<void> {
  const load = (connections: number, inFlight: number, bytes = 0): Promise<Measured> =>
    watched(server, generator, { do: "load", connections, inFlight, bytes, warmupMs, durationMs });

  const one = await load(1, 1);
  samples.add(id, "one.rate", rate(one));
  samples.add(id, "one.p50", one.result.p50 ?? Number.NaN);
  samples.add(id, "one.p99", one.result.p99 ?? Number.NaN);
  const wide = await load(16, 1);
  samples.add(id, "wide.rate", rate(wide), wide.generatorBound);
  const deep = await load(16, 16);
  samples.add(id, "deep.rate", rate(deep), deep.generatorBound);
  if (deep.serverMs !== undefined && deep.clientMs !== undefined && deep.result.count > 0) {
    samples.add(id, "deep.serverCpu", (deep.serverMs * 1_000) / deep.result.count);
    samples.add(id, "deep.clientCpu", (deep.clientMs * 1_000) / deep.result.count);
  }
  const big = await load(4, 4, 64 * 1024);
  samples.add(id, "big.rate", rate(big), big.generatorBound);
}

async function measureHandshakes(
  { id }: Stack,
  server: RunningServer,
  generator: Generator,
  { warmupMs, durationMs }: Settings,
  samples: Samples,
): Promise<void> {
  const measured = await watched(server, generator, { do: "handshakes", atOnce: 8, warmupMs, durationMs });
  samples.add(id, "handshake.rate", rate(measured), measured.generatorBound);
  if (measured.serverMs !== undefined) {
    samples.add(id, "handshake.perCore", measured.result.count / (measured.serverMs / 1_000));
  }
}

/** A fifth of the connections first: what the first ones cost once (code, buffers) is no cost of each. */
async function measureMemory(
  { id }: Stack,
  server: RunningServer,
  generator: Generator,
  { connections, looks }: Settings,
  samples: Samples,
): Promise<void> {
  const idle = await settled(server, looks);
  if (idle === undefined) return;
  samples.add(id, "memory.idle", idle.totalKb / 1_000);
  await generator.perform({ do: "hold", connections: connections / 5 });
  const few = await settled(server, looks);
  await generator.perform({ do: "hold", connections });
  const many = await settled(server, looks);
  await generator.perform({ do: "release" });
  if (few === undefined || many === undefined) return;
  samples.add(id, "memory.connected", many.totalKb / 1_000);
  samples.add(id, "memory.perConnection", (many.totalKb - few.totalKb) / connections);
}

async function measureBroadcast(
  stack: Stack,
  place: Place,
  generator: Generator,
  { broadcastClients, broadcasts }: Settings,
  samples: Samples,
): Promise<void> {
  if (stack.broadcast === undefined) return;
  const { times } = await generator.perform({
    do: "broadcast",
    clients: broadcastClients,
    times: broadcasts,
    trigger: stack.broadcast(place),
    marker: "modreload:",
  });
  const { first = [], last = [] } = times;
  samples.add(stack.id, "broadcast.first", spreadOf(first).median);
  samples.add(stack.id, "broadcast.last", spreadOf(last).median);
  const spreads = last.map((ms, index) => ms - (first[index] ?? Number.NaN));
  samples.add(stack.id, "broadcast.spread", spreadOf(spreads).median);
}

/** What only VeriPy has: modules that change, many of them, and a client that is a process of its own. */
export async function measureVeripy(
  veripy: string,
  directory: string,
  settings: Settings,
  samples: Samples,
): Promise<void> {
  const certs = join(veripy, "certs");
  const server = await startVeripy({ veripy });
  const file = join(veripy, "mods", "hello.ts");
  const generator = new Generator([process.execPath, join(import.meta.dir, "generators", "veripy.ts")], {
    host: "127.0.0.1",
    port: server.port,
    certs,
  });
  try {
    const { times } = await generator.perform({ do: "edits", file, times: settings.edits });
    samples.add("veripy", "edit.verified", spreadOf(times.verified ?? []).median);
    await measureProcesses(server, certs, settings, samples);
  } finally {
    await generator.stop();
    await server.stop();
  }
  for (const count of [10, 100]) await measureModules(veripy, directory, count, settings, samples);
}

/** One of each in turn, so that whatever else the machine does meets both. */
async function measureProcesses(
  server: RunningServer,
  certs: string,
  { processes }: Settings,
  samples: Samples,
): Promise<void> {
  const port = String(server.port);
  const own: number[] = [];
  const openssl: number[] = [];
  for (let run = 0; run < processes; run++) {
    const flags = ["--host", "127.0.0.1", "--port", port, "--certs", certs];
    own.push(await timeOf([veripyClient, ...flags, "exec", "hello.ts", "World"]));
    openssl.push(
      await timeOf([
        ...(["openssl", "s_client", "-connect", `127.0.0.1:${port}`, "-tls1_3"] as const),
        ...["-cert", join(certs, "client.crt"), "-key", join(certs, "client.key")],
      ]),
    );
  }
  samples.add("veripy", "exec.process", spreadOf(own).median);
  samples.add("veripy", "exec.openssl", spreadOf(openssl).median);
}

async function measureModules(
  veripy: string,
  directory: string,
  count: number,
  { looks }: Settings,
  samples: Samples,
): Promise<void> {
  const crowded = join(directory, `modules-${count}`);
  cpSync(veripy, crowded, { recursive: true });
  fillMods(join(crowded, "mods"), count);
  const server = await startVeripy({ veripy: crowded });
  try {
    samples.add("veripy", count === 10 ? "start.modules10" : "start.modules100", server.startMs);
    const memory = await settled(server, looks);
    if (count === 100 && memory !== undefined) {
      samples.add("veripy", "memory.perModule", spreadOf(memory.privateKbPerChild).median / 1_000);
    }
  } finally {
    await server.stop();
    rmSync(crowded, { recursive: true, force: true });
  }
}

interface Measured {
  readonly result: Result;
  /** Processor time while it was measured; undefined where it can't be known. */
  readonly serverMs: number | undefined;
  readonly clientMs: number | undefined;
  readonly generatorBound: boolean;
}

/** Performs a command while looking at the processor time of both sides. */
async function watched(server: RunningServer, generator: Generator, command: Command): Promise<Measured> {
  const look = (): { server: Usage; client: Usage; at: number } | undefined => {
    const serverUsage = usageOf(server.pids);
    const client = usageOf([generator.pid]);
    return serverUsage && client && { server: serverUsage, client, at: performance.now() };
  };
  let before: ReturnType<typeof look>;
  const result = await generator.perform(command, () => {
    before = look();
  });
  const after = look();
  if (before === undefined || after === undefined) {
    return { result, serverMs: undefined, clientMs: undefined, generatorBound: false };
  }
  const wallMs = after.at - before.at;
  const onServer = usedBetween(before.server, after.server);
  const onClient = usedBetween(before.client, after.client);
  return {
    result,
    serverMs: onServer.totalMs,
    clientMs: onClient.totalMs,
    generatorBound: onClient.busiestMs > 0.85 * wallMs && onServer.busiestMs < 0.85 * wallMs,
  };
}

function rate({ result }: Measured): number {
  return result.count / (result.ms / 1_000);
}

/** The lowest of some readings: garbage that is about to be collected is no memory of the idle. */
async function settled(server: RunningServer, looks: number): Promise<Memory | undefined> {
  let lowest: Memory | undefined;
  for (let look = 0; look < looks; look++) {
    const memory = memoryOf(server.pids);
    if (memory === undefined) return undefined;
    if (lowest === undefined || memory.totalKb < lowest.totalKb) lowest = memory;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return lowest;
}
