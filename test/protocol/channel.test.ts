import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { Channel, type ChannelOptions } from "../../src/protocol/channel.ts";
import type { CloseReason, Duplex, DuplexHandler } from "../../src/protocol/duplex.ts";
import type { Frame } from "../../src/protocol/frame.ts";

/** A scripted peer: records what is written to it, and sends what the test says. */
class ScriptedDuplex implements Duplex {
  readonly queuedBytes = 0;
  readonly isFull = false;
  readonly isHigh = false;
  isClosed = false;
  readonly written: string[] = [];
  /** False: the peer does not close its half in answer to ours. */
  endsOnClose = true;
  #handler: DuplexHandler | undefined;

  attach(handler: DuplexHandler): void {
    this.#handler = handler;
  }
  write(text: string): void {
    if (!this.isClosed) this.written.push(text);
  }
  pause(): void {}
  resume(): void {}
  close(): void {
    if (this.endsOnClose) this.end(undefined);
  }
  abort(reason: VeripyError): void {
    this.end(reason);
  }
  end(reason: CloseReason): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#handler?.closed(reason);
  }
  says(text: string): void {
    this.saysBytes(new TextEncoder().encode(text));
  }
  saysBytes(bytes: Uint8Array): void {
    this.#handler?.data(bytes);
  }
}

function open(options: Partial<ChannelOptions> = {}) {
  const duplex = new ScriptedDuplex();
  const frames: Frame[] = [];
  const ends: CloseReason[] = [];
  const channel = new Channel(duplex, {
    maxLineBytes: 1000,
    onFrame: (frame) => frames.push(frame),
    onClosed: (reason) => ends.push(reason),
    ...options,
  });
  return { duplex, channel, frames, ends };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "resolved";
  } catch (error) {
    return error instanceof VeripyError ? error.code : `not a VeripyError: ${error}`;
  }
}

describe("requests and answers", () => {
  test("answers may come in any order", async () => {
    const { duplex, channel, frames } = open();
    const first = channel.request("mod", "sync", "{}", { timeoutMs: 1000 });
    const second = channel.request("mod", "sync", "{}", { timeoutMs: 1000 });
    expect(duplex.written).toEqual(["mod:sync:1 {}\n", "mod:sync:2 {}\n"]);
    duplex.says('mod:sync_resp:2 {"n":2}\nmod:sync_resp:1 {"n":1}\n');
    expect((await first).json).toBe('{"n":1}');
    expect((await second).json).toBe('{"n":2}');
    expect(frames).toEqual([]);
  });

  test("a second answer, or one without a request, is no answer to any request", async () => {
    const { duplex, channel, frames } = open();
    const request = channel.request("mod", "sync", "{}", { timeoutMs: 1000 });
    duplex.says('mod:sync_resp:1 {"n":1}\nmod:sync_resp:1 {"n":2}\nmod:sync_resp:zz {}\n');
    expect((await request).json).toBe('{"n":1}');
    expect(frames.map(({ ref }) => ref)).toEqual(["1", "zz"]);
  });

  test("a broadcast with the REF of a pending request is not taken for its answer", async () => {
    const { duplex, channel, frames } = open();
    const parts: Frame[] = [];
    const request = channel.request("mod", "exec", "{}", {
      timeoutMs: 1000,
      onPart: (part) => parts.push(part),
    });
    duplex.says('modload:modload:1 {}\nmod:exec_part:1 {}\nmod:exec_resp:1 {"done":1}\n');
    expect((await request).json).toBe('{"done":1}');
    expect(frames.map(({ api }) => api)).toEqual(["modload"]);
    expect(parts.map(({ type }) => type)).toEqual(["exec_part"]);
  });

  test("an answer of type 'error' settles the request", async () => {
    const { duplex, channel } = open();
    const request = channel.request("mod", "stats", "{}", { timeoutMs: 1000 });
    duplex.says('mod:error:1 {"error":"no such request"}\n');
    expect((await request).type).toBe("error");
  });

  test("a request without an answer ends at its deadline, and onGivenUp is called", async () => {
    const { channel } = open();
    const givenUp: string[] = [];
    const request = channel.request("mod", "sync", "{}", {
      timeoutMs: 10,
      onGivenUp: (ref) => givenUp.push(ref),
    });
    setTimeout(() => {}, 200);
    expect(await codeOf(request)).toBe("timeout");
    expect(givenUp).toEqual(["1"]);
  });

  test("an aborted signal cancels a request, before it is sent or while it is pending", async () => {
    const { duplex, channel, frames } = open();
    expect(
      await codeOf(channel.request("mod", "sync", "{}", { timeoutMs: 1000, signal: AbortSignal.abort() })),
    ).toBe("cancelled");
    expect(duplex.written).toEqual([]);
    const controller = new AbortController();
    const request = channel.request("mod", "sync", "{}", { timeoutMs: 1000, signal: controller.signal });
    controller.abort();
    expect(await codeOf(request)).toBe("cancelled");
    duplex.says("mod:sync_resp:1 {}\n");
    expect(frames.map(({ type }) => type)).toEqual(["sync_resp"]);
  });
});

describe("a decoded request", () => {
  const request = { timeoutMs: 1000, line: (ref: string) => `mod:exec:${ref} {}\n` };
  const fail = () => {
    throw new VeripyError("exec_failed", "no");
  };

  test("resolves with its decoded answer, also when decoding returns a promise", async () => {
    const { duplex, channel } = open();
    const plain = channel.requestDecoded("mod", { ...request, decode: ({ json }) => json.length });
    const later = channel.requestDecoded("mod", { ...request, decode: async ({ json }) => json.length });
    expect(duplex.written).toEqual(["mod:exec:1 {}\n", "mod:exec:2 {}\n"]);
    duplex.says("mod:exec_resp:1 {}\nmod:exec_resp:2 {  }\n");
    expect([await plain, await later]).toEqual([2, 4]);
  });

  test("rejects with what decoding throws", async () => {
    const { duplex, channel } = open();
    const failing = channel.requestDecoded("mod", { ...request, decode: fail });
    duplex.says("mod:exec_resp:1 {}\n");
    expect(await codeOf(failing)).toBe("exec_failed");
  });

  test("without an answer rejects with the error of its choice, and learns whether it was sent", async () => {
    const { channel } = open();
    const sent: boolean[] = [];
    const unanswered = (error: VeripyError, isSent: boolean) => {
      sent.push(isSent);
      return new VeripyError("timeout", error.message);
    };
    const before = channel.requestDecoded("mod", { ...request, decode: fail, unanswered });
    channel.close();
    const after = channel.requestDecoded("mod", { ...request, decode: fail, unanswered });
    expect([await codeOf(before), await codeOf(after)]).toEqual(["timeout", "timeout"]);
    expect(sent).toEqual([true, false]);
  });
});

describe("the end of a channel", () => {
  test.each(["close", "abort", "the peer"])(
    "by %s settles every request once, and is reported once",
    async (way) => {
      const { duplex, channel, ends } = open();
      const requests = [1, 2, 3].map(() => codeOf(channel.request("mod", "sync", "{}", { timeoutMs: 1000 })));
      const reason = new VeripyError("unreachable", "gone");
      if (way === "close") channel.close();
      else if (way === "abort") channel.abort(reason);
      else duplex.end(reason);
      channel.close();
      channel.abort(new VeripyError("closed", "a second time"));
      duplex.end(undefined);
      const code = way === "close" ? "closed" : "unreachable";
      expect(await Promise.all(requests)).toEqual([code, code, code]);
      expect(ends).toEqual([way === "close" ? undefined : reason]);
      expect(await codeOf(channel.request("mod", "sync", "{}", { timeoutMs: 1000 }))).toBe(code);
    },
  );

  test.each([
    ["a line that is not a frame", "GET / HTTP/1.1\n", "bad_request"],
    ["a line that is too long", `mod:exec:1 {"args":"${"x".repeat(1000)}"}\n`, "too_large"],
    ["a line that never ends", "x".repeat(1001), "too_large"],
  ])("%s is answered with the reason, and the channel closes", (_, line, code) => {
    const { duplex, frames, ends } = open();
    duplex.says(`sys:ping:1 {}\n${line}`);
    expect(frames).toHaveLength(1);
    expect(duplex.written).toHaveLength(1);
    expect(duplex.written[0]).toStartWith("sys:error:- ");
    expect(JSON.parse(duplex.written[0]?.slice("sys:error:- ".length) ?? "")).toMatchObject({ code });
    expect(ends).toHaveLength(1);
    expect(duplex.isClosed).toBe(true);
  });

  test("frames after a close in the same chunk are not delivered", () => {
    const { duplex, channel, frames } = open({
      onFrame: (frame) => {
        frames.push(frame);
        channel.close();
      },
    });
    duplex.says("sys:ping:1 {}\nsys:ping:2 {}\n");
    expect(frames.map(({ ref }) => ref)).toEqual(["1"]);
  });

  test.each(["close", "abort", "a broken line"])("after %s nothing that arrives is decoded", (way) => {
    const { duplex, channel, frames } = open();
    duplex.endsOnClose = false;
    duplex.says("sys:ping:1 {}\nsys:pi");
    if (way === "close") channel.close();
    else if (way === "abort") channel.abort(new VeripyError("timeout", "too slow"));
    else duplex.says("GET / HTTP/1.1\n");
    const { length } = duplex.written;
    const bytes = new TextEncoder().encode("ng:2 {}\nGET / HTTP/1.1\n");
    bytes.lastIndexOf = () => {
      throw new Error("The chunk was looked at.");
    };
    duplex.saysBytes(bytes);
    expect([frames.length, duplex.written.length]).toEqual([1, length]);
  });
});
