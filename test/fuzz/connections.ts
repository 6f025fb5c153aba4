import type { Identity } from "../../src/identity/identity.ts";
import { joinProtocol } from "../../src/protocol/messages.ts";
import { LineClient } from "../helpers/line-client.ts";
import { within } from "../helpers/within.ts";
import { mutateText, valueText } from "./payloads.ts";
import type { Random } from "./random.ts";
import type { Report } from "./report.ts";

export interface Target {
  readonly port: number;
  /** A key that the server does not know. */
  readonly stranger: Identity;
  readonly trusted: Identity;
  /** What a real client sends first. */
  readonly clientHello: Uint8Array;
  readonly report: Report;
  /** Strangers that were answered: 0 when no invitation was open, so that nothing was tried. */
  readonly listenedTo: { strangers: number };
}

type Attack = (random: Random, target: Target) => Promise<void>;

/** Longer than the server's handshake timeout in the run. */
const endWithinMs = 10_000;

/** Connections by peers that are no clients, or by clients that break off; by name, for the summary. */
export const attacks: Readonly<Record<string, Attack>> = {
  garbage: (random, target) => overTcp(random, target, [random.bytes(random.integer(1, 2_000))]),
  "plain text": (random, target) =>
    overTcp(random, target, [
      random.pick([
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "mod:sync:1 {}\n",
        "\n",
        "SSH-2.0-x\r\n",
        "\u0016\u0003\u0001",
      ]),
    ]),
  "cut handshake": (random, target) =>
    overTcp(random, target, [target.clientHello.subarray(0, random.integer(0, target.clientHello.length))]),
  "mutated handshake": (random, target) => overTcp(random, target, [mutated(random, target.clientHello)]),
  "handshake in single bytes": (random, target) => {
    const hello = random.chance(0.5) ? mutated(random, target.clientHello) : target.clientHello;
    return overTcp(
      random,
      target,
      [...hello.subarray(0, random.integer(1, 300))].map((byte) => Uint8Array.of(byte)),
    );
  },
  "handshake, then garbage": (random, target) =>
    overTcp(random, target, [target.clientHello, random.bytes(random.integer(1, 600))]),
  "half-open": (random, target) =>
    overTcp(random, target, [target.clientHello.subarray(0, random.integer(0, 50))], "stay"),
  "no certificate": (random, target) => overTls(random, target, undefined),
  "untrusted key": (random, target) => overTls(random, target, target.stranger),
  uninvited: (random, target) => overTls(random, target, target.stranger, joinProtocol),
  "trusted, broken off": async (random, target) => {
    using client = await LineClient.connect({
      port: target.port,
      identity: target.trusted,
      keepsLines: false,
    });
    const line = 'mod:exec:1 {"mod":"wait.ts","args":"x"}\n'.repeat(random.integer(0, 20));
    client.send(line.slice(0, random.integer(0, line.length)));
    if (random.chance(0.5)) client.end();
    await Bun.sleep(random.integer(0, 3));
  },
};

/** What strangers may try while an invitation is open: asking to join is all that there is for them. */
export const joinAttacks: Readonly<Record<string, Attack>> = {
  "asks to join": async (random, { port, stranger, report, listenedTo }) => {
    using client = await LineClient.connect({ port, identity: stranger, protocol: joinProtocol });
    for (let count = random.integer(0, 3); count > 0; count--) client.send(joinLine(random));
    if (random.chance(0.3)) client.end();
    await mustEnd(client, report);
    if (client.received > 0) listenedTo.strangers += 1;
    const word = client.lines.find((line) => !/^(?:sys:join_resp:\S+|sys:error:-) \{"error":|^$/.test(line));
    if (word !== undefined) report.violation(`a stranger was told ${JSON.stringify(word.slice(0, 200))}`);
  },
  "asks to join and goes on talking": async (random, { port, stranger, report }) => {
    using client = await LineClient.connect({ port, identity: stranger, protocol: joinProtocol });
    client.send(joinLine(random));
    client.send(random.bytes(random.integer(1, 300_000)));
    await mustEnd(client, report);
  },
  "holds a place": async (_, { port, stranger, report }) => {
    using client = await LineClient.connect({ port, identity: stranger, protocol: joinProtocol });
    await mustEnd(client, report);
  },
  "asks for something else": (random, target) => overTls(random, target, target.stranger),
};

function joinLine(random: Random): string {
  const json = random.chance(0.5)
    ? `{"id":${valueText(random)},"proof":${valueText(random)}}`
    : JSON.stringify({ id: random.text(16, "0123456789abcdef"), proof: random.text(64, "0123456789abcdef") });
  const line = `${random.pick(["sys:join", "sys:join", "sys:join", "mod:sync", "sys:ping"])}:1 ${json}`;
  return `${random.chance(0.2) ? mutateText(random, line) : line}\n`;
}

/** Sends, then resets, ends, or stays until the server has had enough. Nothing but TLS may come back. */
async function overTcp(
  random: Random,
  { port, report }: Target,
  pieces: readonly (string | Uint8Array)[],
  ending: "stay" | "any" = "any",
): Promise<void> {
  const received: Uint8Array[] = [];
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_, chunk) => void received.push(chunk.slice()),
      close: () => close(),
      error: () => close(),
    },
  });
  for (const piece of pieces) {
    if (socket.write(piece) < 0) break;
    if (pieces.length > 1 && random.chance(0.02)) await Bun.sleep(0);
  }
  const way = ending === "stay" ? 0 : random.integer(0, 3);
  if (way === 1) socket.end();
  else if (way === 2) socket.terminate();
  else if (way === 3) socket.shutdown();
  try {
    if (way !== 2) await within(endWithinMs, "the end of a stranger's connection", closed);
  } catch (error) {
    report.violation(String(error));
  } finally {
    socket.terminate();
  }
  const text = Buffer.concat(received).toString("latin1");
  if (/(?:sys|mod):[a-z]/.test(text))
    report.violation(`a stranger was answered: ${JSON.stringify(text.slice(0, 200))}`);
  const first = received[0]?.[0];
  if (first !== undefined && (first < 0x14 || first > 0x17)) {
    report.violation(`a stranger got something that is no TLS record: ${JSON.stringify(text.slice(0, 200))}`);
  }
}

/** A finished handshake that must lead to nothing, whatever is sent after it. */
async function overTls(
  random: Random,
  { port, report }: Target,
  identity: Identity | undefined,
  protocol?: string,
): Promise<void> {
  using client = await LineClient.connect({
    port,
    ...(identity === undefined ? {} : { identity }),
    ...(protocol === undefined ? {} : { protocol }),
  });
  const requests = ["sys:ping:1 {}\n", "mod:sync:1 {}\n", 'mod:exec:1 {"mod":"echo.ts","args":"x"}\n', "x\n"];
  for (let count = random.integer(0, 5); count > 0 && !client.isClosed; count--) {
    client.send(random.chance(0.2) ? joinLine(random) : random.pick(requests));
    if (random.chance(0.2)) await Bun.sleep(0);
  }
  await mustEnd(client, report);
  if (client.received > 0) {
    report.violation(`an unauthenticated peer got ${client.received} bytes: ${client.lines[0]}`);
  }
}

async function mustEnd(client: LineClient, report: Report): Promise<void> {
  try {
    await within(endWithinMs, "the end of an unauthenticated connection", client.closed);
  } catch (error) {
    report.violation(String(error));
  }
}

function mutated(random: Random, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  for (let count = random.integer(1, 8); count > 0; count--) {
    copy[random.integer(0, copy.length - 1)] = random.integer(0, 255);
  }
  return copy.subarray(0, random.chance(0.3) ? random.integer(1, copy.length) : copy.length);
}

/** The first bytes of a TLS client, as a listener without TLS gets them. */
export async function captureClientHello(): Promise<Uint8Array> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  using listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket, chunk) => {
        resolve(chunk.slice());
        socket.terminate();
      },
    },
  });
  using _ = await LineClient.connect({ port: listener.port });
  return within(5_000, "a client's hello", promise);
}
