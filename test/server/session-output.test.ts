import { describe, expect, test } from "bun:test";
import type { Channel } from "../../src/protocol/channel.ts";
import { SessionOutput } from "../../src/server/session-output.ts";

/** A channel whose congestion the test sets. */
function outputTo() {
  const channel = {
    isHigh: false,
    isFull: false,
    lines: [] as string[],
    send(api: string, type: string, ref: string, json: string, lane: unknown) {
      this.lines.push(`${api}:${type}:${ref} ${json} in '${lane}'`);
    },
    sendLine(line: string, lane: unknown) {
      this.lines.push(`${line.trimEnd()} in '${lane}'`);
    },
  };
  const behind: number[] = [];
  const output = new SessionOutput(channel as unknown as Channel, () => behind.push(channel.lines.length));
  return { channel, output, behind };
}

describe("what a client is sent", () => {
  test("goes into the lane of its REF, and news into the lane of all news", () => {
    const { channel, output } = outputTo();
    output.send("sys", "pong", "7", "{}");
    output.sendNews("modload:modload:s1 {}\n");
    expect(channel.lines).toEqual(["sys:pong:7 {} in '7'", "modload:modload:s1 {} in ''"]);
  });

  test("makes it count as behind once, when the queue gets high", () => {
    const { channel, output, behind } = outputTo();
    output.send("sys", "pong", "1", "{}");
    expect([output.isBehind, behind]).toEqual([false, []]);
    channel.isHigh = true;
    output.send("sys", "pong", "2", "{}");
    output.send("sys", "pong", "3", "{}");
    expect([output.isBehind, behind]).toEqual([true, [2]]);
  });
});

describe("a client that is behind", () => {
  test("gets one resync in place of the news that it missed, when it has caught up", () => {
    const { channel, output } = outputTo();
    channel.isHigh = true;
    output.send("sys", "pong", "1", "{}");
    output.sendNews("modload:modload:s1 {}\n");
    output.sendNews("modload:modload:s2 {}\n");
    output.drained();
    expect(channel.lines.length).toBe(1);
    channel.isHigh = false;
    output.drained();
    expect(channel.lines.slice(1)).toEqual(["sys:resync:missed {} in ''"]);
    output.drained();
    output.sendNews("modload:modload:s3 {}\n");
    expect(channel.lines.slice(2)).toEqual(["modload:modload:s3 {} in ''"]);
  });

  test("and missed nothing gets no resync", () => {
    const { channel, output } = outputTo();
    channel.isHigh = true;
    output.send("sys", "pong", "1", "{}");
    channel.isHigh = false;
    output.drained();
    expect([output.isBehind, channel.lines.length]).toEqual([false, 1]);
  });
});
