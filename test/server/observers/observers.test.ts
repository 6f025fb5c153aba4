import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { parseFingerprint } from "../../../src/identity/fingerprint.ts";
import { ChangeLog } from "../../../src/server/observers/change-log.ts";
import type { CallRecord, ClientLabel, ServerObserver } from "../../../src/server/observers/observer.ts";
import { Observers } from "../../../src/server/observers/observers.ts";
import { RefusalLog } from "../../../src/server/observers/refusal-log.ts";
import { ServerEvents, type VeripyServerEvents } from "../../../src/server/observers/server-events.ts";
import type { TrustedKeys } from "../../../src/trust/trusted-keys.ts";
import { LogRecords } from "../../helpers/log-records.ts";

const fingerprint = parseFingerprint("ab".repeat(32));
const peer: ClientLabel = { fingerprint, name: "alice", address: "192.0.2.1:1", mayRun: true };
const report = { mod: "a.ts", desc: "", sum: "1".repeat(64), tree: "2".repeat(64) };
const fault = (): never => {
  throw new RangeError("out of stack");
};

const log = new LogRecords();
beforeEach(() => log.start());
afterAll(() => log.stop());

/** Tells of one event of each kind. */
function tellAll(observers: Observers): void {
  observers.connected(peer);
  observers.disconnected(peer, "closed", false);
  observers.refused({ reason: "untrusted", address: "192.0.2.1:1" });
  observers.forbidden(peer, "exec a.ts");
  observers.answered({ peer, action: "sync", ref: "1", code: "ok", durationMs: 1 });
  observers.moduleChanged({ kind: "modload", report });
  observers.trustEdited({ kind: "joined", peer });
  observers.trustChanged({ keys: 1 });
}

/** An observer that writes down the events it is told of. */
function recorder(heard: string[]): ServerObserver {
  const told = (event: string) => () => void heard.push(event);
  return {
    connected: told("connected"),
    disconnected: told("disconnected"),
    refused: told("refused"),
    forbidden: told("forbidden"),
    answered: told("answered"),
    moduleChanged: told("moduleChanged"),
    trustEdited: told("trustEdited"),
    trustChanged: told("trustChanged"),
  };
}

const allEvents = [
  "connected",
  "disconnected",
  "refused",
  "forbidden",
  "answered",
  "moduleChanged",
  "trustEdited",
  "trustChanged",
];

describe("the observers of a server", () => {
  test("are each told of every event, in order", () => {
    const [first, second]: [string[], string[]] = [[], []];
    tellAll(new Observers([recorder(first), {}, recorder(second)]));
    expect([first, second]).toEqual([allEvents, allEvents]);
  });

  test("are told although another one throws, and the log says so", () => {
    const heard: string[] = [];
    const broken = Object.fromEntries(allEvents.map((event) => [event, fault])) as ServerObserver;
    tellAll(new Observers([broken, recorder(heard)]));
    expect(heard).toEqual(allEvents);
    expect(log.texts).toContain("An observer failed in 'answered': out of stack");
    expect(log.texts.length).toBe(allEvents.length);
  });

  test("refuse a call by the first refusal, and those behind it are not asked", () => {
    const asked: string[] = [];
    const call = { peer, ref: "1" } as CallRecord;
    const admits = (name: string, answer?: string): ServerObserver => ({
      admit: () => {
        asked.push(name);
        return answer;
      },
    });
    expect(new Observers([admits("a"), {}, admits("b")]).admit(call)).toBeUndefined();
    expect(new Observers([admits("c"), admits("d", "no"), admits("e")]).admit(call)).toBe("no");
    expect(asked).toEqual(["a", "b", "c", "d"]);
    expect(() => new Observers([{ admit: fault }]).admit(call)).toThrow("out of stack");
  });

  test("need records of requests only when one of them looks at requests", () => {
    expect(new Observers([{ connected() {} }, new ChangeLog()]).watchRequests).toBe(false);
    expect(new Observers([{}, { answered() {} }]).watchRequests).toBe(true);
    expect(new Observers([{ admit: () => undefined }]).watchRequests).toBe(true);
  });
});

describe("the events of a server", () => {
  test("are what its observers are told, with labels that outlive the session", () => {
    const emitter = new EventEmitter<VeripyServerEvents>();
    const heard: unknown[] = [];
    for (const event of ["connected", "disconnected", "refused", "module"] as const)
      emitter.on(event, (value: unknown) => heard.push([event, value]));
    tellAll(new Observers([new ServerEvents(emitter)]));
    const label = { fingerprint, name: "alice", address: "192.0.2.1:1" };
    expect(heard).toEqual([
      ["connected", label],
      ["disconnected", { ...label, reason: "closed" }],
      ["refused", { reason: "untrusted", address: "192.0.2.1:1" }],
      ["module", { kind: "modload", report }],
    ]);
  });

  test("whose listener throws do not stop the server", () => {
    const emitter = new EventEmitter<VeripyServerEvents>();
    emitter.on("connected", fault);
    new Observers([new ServerEvents(emitter)]).connected(peer);
    expect(log.texts).toEqual(["An observer failed in 'connected': out of stack"]);
  });
});

describe("the log of changes", () => {
  test("has a line for each change of the modules and of trust", () => {
    const changes = new ChangeLog();
    const next = parseFingerprint("cd".repeat(32));
    changes.moduleChanged({ kind: "modload", report });
    changes.moduleChanged({ kind: "moderror", mod: "b.ts", error: "bad", detail: "bad: /srv", others: [] });
    changes.trustChanged({ keys: 3 });
    changes.trustChanged({ error: "it is not JSON" });
    changes.trustEdited({ kind: "joined", peer });
    changes.trustEdited({ kind: "key_announced", peer, next });
    changes.trustEdited({ kind: "key_confirmed", peer });
    expect(log.texts).toEqual([
      `modload: a.ts ${report.tree}`,
      "b.ts cannot be loaded: bad: /srv",
      "Trusted keys changed: 3 now.",
      "Kept the last good trusted keys: it is not JSON",
      "Joined: alice from 192.0.2.1:1, by invitation.",
      `alice is rotating its key: ${next} is now also trusted.`,
      `alice has switched to the key ${fingerprint}; its old key is no longer trusted.`,
    ]);
  });
});

describe("the log of refusals", () => {
  const noKeys = { lookup: () => undefined } as unknown as TrustedKeys;

  test("says how to trust an unknown key, once for each key", () => {
    const refusals = new RefusalLog("./trusted-keys.json", () => noKeys);
    refusals.refused({ reason: "untrusted", address: "192.0.2.1:1", fingerprint });
    refusals.refused({ reason: "untrusted", address: "192.0.2.1:2", fingerprint });
    expect(log.texts).toEqual([
      `Refused an unknown key ${fingerprint} from 192.0.2.1:1. To trust it: veripy-server trust ${fingerprint}`,
    ]);
  });

  test("has one line a second about wrong invitation codes, from whatever addresses they come", () => {
    const refusals = new RefusalLog("./trusted-keys.json", () => noKeys);
    for (let number = 1; number < 100; number++)
      refusals.refused({ reason: "wrong_code", address: `192.0.2.${number}:1`, fingerprint });
    expect(log.texts[0]).toBe(`A wrong invitation code from 192.0.2.1:1, key ${fingerprint}.`);
    expect(log.texts.length).toBe(1);
  });
});
