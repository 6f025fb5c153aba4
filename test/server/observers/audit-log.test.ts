import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseFingerprint } from "../../../src/identity/fingerprint.ts";
import { AuditLog } from "../../../src/server/observers/audit-log.ts";
import type { ClientLabel, RequestRecord } from "../../../src/server/observers/observer.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";
import { jsonLines } from "../../helpers/tools.ts";

let directory: { path: string } & AsyncDisposable;

beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory[Symbol.asyncDispose]());

const path = () => join(directory.path, "audit.log");
const files = () => readdirSync(directory.path).sort();
const recordsOf = (file: string) => jsonLines(readFileSync(join(directory.path, file), "utf8"));

const address = "192.0.2.1:4711";
const ann: ClientLabel = { fingerprint: "a".repeat(64), name: "ann", address, mayRun: true };
const guest: ClientLabel = { fingerprint: "b".repeat(64), name: "guest", address, mayRun: false };
const request = (peer: ClientLabel, more: Partial<RequestRecord> = {}): RequestRecord => ({
  peer,
  action: "exec",
  ref: "1",
  mod: "hello.ts",
  code: "ok",
  durationMs: 1,
  ...more,
});
const tree = "c".repeat(64);

/** Everything that those can cause who may run nothing, `rounds` times. */
function flood(log: AuditLog, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    const from = `198.51.${round >> 8}.${round & 255}:1`;
    log.refused({
      reason: "untrusted",
      address: from,
      fingerprint: parseFingerprint(`${round}`.padStart(64, "d")),
    });
    log.refused({ reason: "too_many_handshakes", address: "192.0.2.9:2" });
    log.connected(guest);
    for (const action of ["sync", "verify", "stats", "exec"] as const) {
      for (const code of ["ok", "forbidden", "not_found", "bad_request"] as const) {
        if (action === "exec" && code === "ok") continue;
        log.answered(request(guest, { action, code }));
      }
    }
    log.answered(request(ann, { code: "forbidden", mod: `${round}.ts` }));
    log.disconnected(guest, "A line is no frame.");
  }
}

describe("the audit log", () => {
  test("keeps what was run and what was changed, whatever clients without permissions do", () => {
    const log = new AuditLog({ path: path(), maxBytes: 4_096, keep: 2 });
    log.answered(request(ann, { ref: "kept", tree, args: "x", resultJson: '"y"' }));
    log.trustChanged({ keys: 2 });
    flood(log, 3_000);
    log.close();
    expect(files()).toEqual(["audit.log", "audit.log.refused", "audit.log.refused.1", "audit.log.refused.2"]);
    expect(recordsOf("audit.log")).toMatchObject([
      { event: "exec", ref: "kept", name: "ann", code: "ok" },
      { event: "trust", keys: 2 },
    ]);
  });

  test("counts a flood instead of recording each event", () => {
    const log = new AuditLog({ path: path() });
    for (let count = 0; count < 10_000; count++) log.answered(request(guest, { code: "forbidden" }));
    for (let count = 0; count < 10_000; count++) {
      log.refused({ reason: "rate_limited", address: `192.0.2.9:${count}` });
      log.refused({ reason: "rate_limited", address: `[2001:db8::${count.toString(16)}]:1` });
    }
    log.close();
    const records = recordsOf("audit.log.refused");
    expect(records).toHaveLength(3 * 6);
    expect(records.filter(({ count }) => count !== undefined)).toMatchObject([
      { event: "exec", code: "forbidden", fingerprint: guest.fingerprint, name: "guest", count: 9_995 },
      { event: "refused", reason: "rate_limited", network: "192.0.2.9", count: 9_995 },
      { event: "refused", reason: "rate_limited", network: "2001:db8:0:0::/64", count: 9_995 },
    ]);
    expect(records.at(-1)).toMatchObject({
      time: expect.stringMatching(/^20\d\d-/),
      first: expect.stringMatching(/^20\d\d-/),
      last: expect.stringMatching(/^20\d\d-/),
    });
  });

  test("has everything that a client with permissions does, except forbidden requests", () => {
    const log = new AuditLog({ path: path() });
    log.connected(ann);
    for (const code of ["ok", "not_found", "bad_request", "version_mismatch", "busy"] as const) {
      log.answered(request(ann, { code }));
    }
    log.answered(request(ann, { action: "sync" }));
    log.answered(request(ann, { code: "forbidden" }));
    log.disconnected(ann, "closed");
    log.close();
    expect(recordsOf("audit.log").map(({ event, code }) => code ?? event)).toEqual([
      ...["connected", "ok", "not_found", "bad_request", "version_mismatch", "busy", "ok", "disconnected"],
    ]);
    expect(recordsOf("audit.log.refused")).toMatchObject([{ event: "exec", code: "forbidden", ref: "1" }]);
  });

  test("has a call that ran, even if its client has lost the permission since", () => {
    const log = new AuditLog({ path: path() });
    log.answered(request(guest, { tree, code: "cancelled" }));
    log.close();
    expect(files()).toEqual(["audit.log"]);
    expect(recordsOf("audit.log")).toMatchObject([{ event: "exec", code: "cancelled", name: "guest" }]);
  });

  test("writes nothing after it is closed, and nothing into a file that reuses its descriptor", () => {
    const log = new AuditLog({ path: path(), required: true });
    flood(log, 1);
    log.trustChanged({ keys: 1 });
    log.close();
    const before = files().map((file) => readFileSync(join(directory.path, file), "utf8"));
    const others = ["a", "b", "c"].map((name) => openSync(join(directory.path, name), "a"));
    flood(log, 10);
    log.trustChanged({ keys: 2 });
    log.disconnected(ann, "closed");
    log.close();
    for (const other of others) closeSync(other);
    for (const name of ["a", "b", "c"]) expect(readFileSync(join(directory.path, name), "utf8")).toBe("");
    const after = files().filter((file) => file.startsWith("audit"));
    expect(after.map((file) => readFileSync(join(directory.path, file), "utf8"))).toEqual(before);
  });

  test("that has no space for refusals still lets modules run, since calls can be recorded", () => {
    mkdirSync(`${path()}.refused`);
    const log = new AuditLog({ path: path(), required: true });
    flood(log, 10);
    expect(log.admit({ peer: ann, ref: "1", mod: "hello.ts", tree })).toBeUndefined();
    log.answered(request(ann, { tree }));
    log.close();
    expect(recordsOf("audit.log").map(({ event }) => event)).toEqual(["exec_begin", "exec"]);
  });

  test.skipIf(process.platform === "win32")("that is a pipe or a device has everything in one place", () => {
    const log = new AuditLog({ path: "/dev/null", maxBytes: 100 });
    flood(log, 10);
    log.answered(request(ann, { tree }));
    log.close();
    expect(readdirSync("/dev").filter((name) => name.startsWith("null"))).toEqual(["null"]);
  });
});
