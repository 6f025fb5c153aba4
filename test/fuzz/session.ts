import type { Identity } from "../../src/identity/identity.ts";
import { LineClient } from "../helpers/line-client.ts";
import { eventually } from "../helpers/within.ts";
import { type FuzzedLine, fuzzedLine } from "./frames.ts";
import type { Random } from "./random.ts";
import type { Report } from "./report.ts";

export interface SessionOptions {
  readonly port: number;
  readonly identity: Identity;
  readonly report: Report;
}

const linesOfSession = 3_000;
const linesOfBatch = 100;
const answerWithinMs = 20_000;

/**
 * Mutated frames over one trusted connection, until one of them has to end it. Every request must be answered
 * exactly once, whatever is wrong with it, and a connection must end when it must and not otherwise. Gives the
 * number of frames that were sent.
 */
export async function fuzzSession(
  random: Random,
  { port, identity, report }: SessionOptions,
): Promise<number> {
  using client = await LineClient.connect({ port, identity });
  let expected = 0;
  let sent = 0;
  const recentRefs: string[] = [];
  while (sent < linesOfSession) {
    const batch: FuzzedLine[] = [];
    while (batch.length < linesOfBatch && batch.at(-1)?.effect !== "end") {
      const line = fuzzedLine(random, `r${sent + batch.length}`, recentRefs);
      batch.push(line);
      recentRefs.push(line.ref);
      if (recentRefs.length > 20) recentRefs.shift();
    }
    sent += batch.length;
    expected += batch.filter(({ effect }) => effect === "answer").length;
    sendInPieces(client, random, batch);
    const ends = batch.at(-1)?.effect === "end";
    try {
      await eventually(
        ends ? "the end" : "every answer",
        () => client.isClosed || (!ends && answersOf(client) >= expected),
        answerWithinMs,
      );
    } catch (error) {
      const last = new TextDecoder().decode(batch.at(-1)?.bytes).slice(0, 200);
      report.violation(
        `${error}: ${answersOf(client)} of ${expected} answers came, the last line was ${JSON.stringify(last)}`,
      );
      return sent;
    }
    if (ends) {
      const word = client.lines.findLast((line) => line !== "") ?? "nothing";
      if (!word.startsWith("sys:error:- "))
        report.violation(`a connection ended without a reason; the last line was ${word.slice(0, 200)}`);
      return sent;
    }
    if (client.isClosed) {
      const word = client.lines.findLast((line) => line !== "") ?? "nothing";
      report.violation(`a connection was closed that should have stayed: ${word.slice(0, 300)}`);
      return sent;
    }
    if (answersOf(client) > expected) {
      report.violation(
        `${answersOf(client)} answers came to ${expected} requests: ${client.lines.at(-1)?.slice(0, 200)}`,
      );
      return sent;
    }
    client.lines.length = 0;
    expected = 0;
  }
  return sent;
}

function answersOf(client: LineClient): number {
  let answers = 0;
  for (const line of client.lines) if (/^[a-z_]+:(?:[a-z_]*_resp|error|pong):(?!- )/.test(line)) answers += 1;
  return answers;
}

/** As one write, in pieces of random lengths, or some of it byte by byte. */
function sendInPieces(client: LineClient, random: Random, batch: readonly FuzzedLine[]): void {
  const way = random.integer(0, 3);
  for (const { bytes } of batch) {
    if (way === 0 || bytes.length > 10_000) client.send(bytes);
    else if (way === 1 && bytes.length < 200 && random.chance(0.05))
      for (const byte of bytes) client.send(Uint8Array.of(byte));
    else {
      const cut = random.integer(0, bytes.length);
      client.send(bytes.subarray(0, cut));
      client.send(bytes.subarray(cut));
    }
  }
}
