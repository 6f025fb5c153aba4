import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { VeripyError } from "../../src/base/errors.ts";
import { withDefaultLimits } from "../../src/base/limits.ts";
import type { CallRequest, CallSink } from "../../src/host/call.ts";
import { parseFingerprint } from "../../src/identity/fingerprint.ts";
import type { ModuleRegistry } from "../../src/modules/registry.ts";
import type { DuplexHandler } from "../../src/protocol/duplex.ts";
import { Observers } from "../../src/server/observers/observers.ts";
import { Session, type SessionOwner } from "../../src/server/session.ts";
import type { Peer } from "../../src/tls/peer.ts";
import { Grant } from "../../src/trust/grant.ts";
import { eventually } from "../helpers/within.ts";

const records: LogRecord[] = [];
beforeAll(async () => {
  await configure({
    reset: true,
    sinks: { memory: (record) => records.push(record) },
    loggers: [
      { category: "veripy", sinks: ["memory"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
});
afterAll(() => reset());

const fingerprint = parseFingerprint("ab".repeat(32));
const fault = (): never => {
  throw new RangeError("Maximum call stack size exceeded.");
};

/** A session, and the other end of its connection. What the server has is the test's to say. */
class Served {
  readonly lines: string[] = [];
  isClosed = false;
  #handler: DuplexHandler | undefined;

  constructor(owner: Partial<Omit<SessionOwner, "registry">> & { registry?: Partial<ModuleRegistry> } = {}) {
    const served = this;
    const peer = {
      fingerprint,
      address: "192.0.2.1:1",
      remoteAddress: "192.0.2.1",
      duplex: {
        queuedBytes: 0,
        isHigh: false,
        isClosed: false,
        attach: (handler: DuplexHandler) => {
          this.#handler = handler;
        },
        write: (text: string) => void this.lines.push(...text.trimEnd().split("\n")),
        pause() {},
        resume() {},
        close() {
          served.isClosed = true;
        },
        abort() {
          served.isClosed = true;
        },
      },
    } as unknown as Peer;
    const complete = {
      limits: withDefaultLimits(),
      observers: new Observers([]),
      product: "test/1",
      isDraining: false,
      announcement: () => undefined,
      catalogue: { report: undefined, payload: undefined },
      rotate: async () => "{}",
      sessionEnded() {},
      sessionIdle() {},
      ...owner,
    } as unknown as SessionOwner;
    new Session(peer, new Grant({ fingerprint }), complete);
  }

  asks(line: string): void {
    this.#handler?.data(new TextEncoder().encode(`${line}\n`));
  }

  /** The header and the payload of the next answer. */
  async answer(line: string): Promise<[header: string, payload: Record<string, unknown>]> {
    const before = this.lines.length;
    this.asks(line);
    await eventually("an answer", () => this.lines.length > before);
    const [header = "", ...rest] = (this.lines[before] ?? "").split(" ");
    return [header, JSON.parse(rest.join(" ")) as Record<string, unknown>];
  }

  async expectToGoOn(): Promise<void> {
    expect(await this.answer("sys:ping:on {}")).toEqual(["sys:pong:on", {}]);
    expect(this.isClosed).toBe(false);
  }
}

describe("an unexpected error", () => {
  const broken = {
    product: { toJSON: fault } as unknown as string,
    registry: { current: fault, find: fault, stats: fault },
    rotate: fault,
  };

  test.each([
    ["mod:sync", "mod:sync_resp", "{}"],
    ["mod:verify", "mod:verify_resp", '{"mod":"a.ts"}'],
    ["mod:stats", "mod:stats_resp", "{}"],
    ["mod:exec", "mod:exec_resp", '{"mod":"a.ts","args":""}'],
    ["sys:rotate", "sys:rotate_resp", "{}"],
    ["sys:info", "sys:info_resp", "{}"],
  ])("in %s is answered with 'busy' and logged, and the connection goes on", async (request, type, json) => {
    const before = records.length;
    const served = new Served(broken);
    const [header, payload] = await served.answer(`${request}:7 ${json}`);
    expect(header).toBe(`${type}:7`);
    expect(payload).toEqual({
      code: "busy",
      error: "The server could not answer this request; its log says why.",
    });
    const logged = records.slice(before).filter(({ level }) => level === "error");
    expect(logged.map(({ properties }) => properties.error)).toEqual(["Maximum call stack size exceeded."]);
    await served.expectToGoOn();
  });

  test("in a rotation is answered too, and the next rotation is accepted", async () => {
    const served = new Served({ rotate: () => Promise.reject(new TypeError("no")) });
    for (const ref of ["1", "2"]) {
      expect(await served.answer(`sys:rotate:${ref} {}`)).toMatchObject([
        `sys:rotate_resp:${ref}`,
        { code: "busy" },
      ]);
    }
  });

  test("with a code that the wire does not have becomes 'busy', without its message", async () => {
    const find = () => {
      throw new VeripyError("bad_module", "in /srv/secret");
    };
    const served = new Served({ registry: { find } });
    const [, payload] = await served.answer('mod:verify:1 {"mod":"a.ts"}');
    expect(payload).toMatchObject({ code: "busy" });
    expect(JSON.stringify(payload)).not.toContain("secret");
  });

  test("after a call was handed to its module is 'exec_failed', because it may have run", async () => {
    const sinks: CallSink[] = [];
    const call = (_: CallRequest, sink: CallSink) => {
      sinks.push(sink);
      return fault();
    };
    const registry = { find: () => ({ version: { mod: "a.ts", call } }) } as unknown as ModuleRegistry;
    const served = new Served({ registry });
    const [, payload] = await served.answer('mod:exec:1 {"mod":"a.ts","args":""}');
    expect(payload).toMatchObject({ code: "exec_failed" });
    await served.expectToGoOn();
    // It has its answer; there is no second one.
    sinks[0]?.done({ ok: false, code: "module_crashed", message: "late" });
    expect(served.lines.length).toBe(2);
  });

  test("is logged at most ten times per second, however often it happens", async () => {
    const served = new Served(broken);
    const before = records.length;
    served.asks("mod:sync:1 {}\n".repeat(5_000).trimEnd());
    expect(served.lines.length).toBe(5_000);
    // The gate's second may have begun anew meanwhile.
    expect(records.length - before).toBeLessThanOrEqual(20);
  });
});

describe("an observer that throws", () => {
  const call = () => ({ abort() {}, resume() {} });
  const ran: string[] = [];
  const version = { mod: "a.ts", call: () => ran.push("ran") && call() };
  const registry = { current: () => [], find: () => ({ version }) } as unknown as ModuleRegistry;

  test("after a request does not hold back the answer", async () => {
    const observers = new Observers([{ answered: fault }]);
    const served = new Served({ registry, observers });
    expect(await served.answer("mod:sync:1 {}")).toEqual(["mod:sync_resp:1", { modules: [] }]);
    await served.expectToGoOn();
  });

  test("before a call makes it refused, and nothing runs", async () => {
    const observers = new Observers([{ admit: fault }]);
    const served = new Served({ registry, observers });
    const [, payload] = await served.answer('mod:exec:1 {"mod":"a.ts","args":""}');
    expect(payload).toMatchObject({ code: "busy" });
    expect(ran).toEqual([]);
  });
});

describe("requests without fields", () => {
  const registry = { current: () => [], stats: () => [] };

  test.each([
    ["sys:ping", "sys:pong"],
    ["sys:info", "sys:info_resp"],
    ["sys:pong", "sys:error"],
    ["mod:stats", "mod:stats_resp"],
    ["mod:cancel", "mod:error"],
    ["mod:sync", "mod:sync_resp"],
  ])("%s with a payload that is not JSON is answered with 'bad_request'", async (request, type) => {
    const served = new Served({ registry });
    for (const json of [
      "{",
      "{nonsense}",
      '{"a":1,}',
      "{} {}",
      `${'{"a":'.repeat(200)}1${"}".repeat(200)}`,
    ]) {
      const [header, payload] = await served.answer(`${request}:r1 ${json}`);
      expect(header).toBe(`${type}:r1`);
      expect(payload).toMatchObject({ code: "bad_request" });
    }
    await served.expectToGoOn();
  });

  test.each([["{}"], ["{ }"], ['{"later":[1,{"x":null}]}'], ["{}\r"]])("%j is taken", async (json) => {
    const served = new Served({ registry });
    expect(await served.answer(`sys:ping:1 ${json}`)).toEqual(["sys:pong:1", {}]);
    expect((await served.answer(`sys:info:1 ${json}`))[1]).toMatchObject({ server: "test/1" });
    expect((await served.answer(`mod:stats:1 ${json}`))[1]).toEqual({ modules: [] });
    const before = served.lines.length;
    served.asks(`sys:pong:1 ${json}`);
    served.asks(`mod:cancel:1 ${json}`);
    await served.expectToGoOn();
    expect(served.lines.length).toBe(before + 1);
  });
});

describe("an announcement of a key", () => {
  test("that is too long is refused without being parsed", async () => {
    const seen: string[] = [];
    const served = new Served({
      rotate: async (_, json) => {
        seen.push(json);
        return "{}";
      },
    });
    const statement = (length: number) => `{"x":"${"x".repeat(length - 8)}"}`;
    expect(await served.answer(`sys:rotate:1 ${statement(8 * 1024)}`)).toEqual(["sys:rotate_resp:1", {}]);
    const [, payload] = await served.answer(`sys:rotate:2 ${statement(8 * 1024 + 1)}`);
    expect(payload).toEqual({
      code: "bad_request",
      error: "A rotation statement has 8193 characters, the limit is 8192.",
    });
    expect(seen.length).toBe(1);
  });

  test("while another is in progress is 'busy', at once, however many there are", async () => {
    const working = Promise.withResolvers<string>();
    let asked = 0;
    const served = new Served({
      rotate: () => {
        asked += 1;
        return working.promise;
      },
    });
    served.asks("sys:rotate:1 {nonsense}\n".repeat(1_000).trimEnd());
    expect([asked, served.lines.length]).toEqual([1, 999]);
    expect(served.lines.every((line) => line.includes('"busy"'))).toBe(true);
    working.resolve("{}");
    await eventually("the answer", () => served.lines.length === 1_000);
  });
});
