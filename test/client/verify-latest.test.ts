import { expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import { KnownModules } from "../../src/client/known-modules.ts";
import type { Verdict } from "../../src/client/verifier.ts";
import { maxFetches, verifyLatest } from "../../src/client/verify-latest.ts";
import type { ModuleReport, VerifyResponse } from "../../src/protocol/messages.ts";
import { treeSum } from "../../src/protocol/tree.ts";

const mod = "m.ts";

function reportOf(content: string): ModuleReport {
  const sum = sha256Hex(content);
  return { mod, sum, tree: treeSum([{ path: mod, sum }]) };
}

/** A server whose module, and what it says of it, the test decides. */
class Server {
  readonly modules = new KnownModules();
  content = "1";
  /** What a sync reports. */
  listed = "1";
  fetches = 0;
  syncs = 0;
  /** Called before the answer to a fetch is made, and after it. */
  beforeAnswer = () => {};
  afterAnswer = () => {};

  constructor() {
    this.modules.replace([reportOf(this.listed)]);
  }

  broadcast(content: string): void {
    this.modules.update({ kind: "modreload", mod, report: reportOf(content) });
  }

  fetch = async (): Promise<VerifyResponse> => {
    this.fetches += 1;
    this.beforeAnswer();
    const { content } = this;
    const answer = { ...reportOf(content), content, files: [] };
    this.afterAnswer();
    return answer;
  };

  sync = async (): Promise<void> => {
    this.syncs += 1;
    this.modules.replace([reportOf(this.listed)]);
  };

  sealed = (verdict: Verdict): Verdict => verdict;

  async verified(): Promise<string> {
    const verdict = await verifyLatest(mod, this.modules, this);
    return verdict.verified ? verdict.sum : "rejected";
  }
}

test("content that matches its report is verified with one fetch, and the verdict is kept", async () => {
  const server = new Server();
  expect(await server.verified()).toBe(sha256Hex("1"));
  expect([server.fetches, server.syncs]).toEqual([1, 0]);
  expect(server.modules.current(mod)?.verdict.verified).toBe(true);
});

test("a module that changed since the sync is verified against a fresh report", async () => {
  const server = new Server();
  server.content = "2";
  server.listed = "2";
  expect(await server.verified()).toBe(sha256Hex("2"));
  expect([server.fetches, server.syncs]).toEqual([2, 1]);
});

test("content that no fresh report explains is rejected, without a second fetch", async () => {
  const server = new Server();
  server.content = "forged";
  expect(await server.verified()).toBe("rejected");
  expect([server.fetches, server.syncs]).toEqual([1, 1]);
  expect(server.modules.current(mod)?.verdict.verified).toBe(false);
});

test("content other than a broadcast announced is rejected, whatever a sync would say", async () => {
  const server = new Server();
  server.broadcast("2");
  server.content = "3";
  server.listed = "3";
  expect(await server.verified()).toBe("rejected");
  expect(server.syncs).toBe(0);
});

test("a broadcast that overtakes the answer counts for that answer", async () => {
  const server = new Server();
  server.beforeAnswer = () => {
    server.content = "2";
    server.broadcast("2");
  };
  expect(await server.verified()).toBe(sha256Hex("2"));
  expect(server.fetches).toBe(1);
});

test("a broadcast right behind the answer announces the next version, which is fetched", async () => {
  const server = new Server();
  server.afterAnswer = () => {
    if (server.fetches > 1) return;
    server.content = "2";
    server.broadcast("2");
  };
  expect(await server.verified()).toBe(sha256Hex("2"));
  expect(server.fetches).toBe(2);
});

test("a module that never stops changing is rejected after so many fetches", async () => {
  const server = new Server();
  server.afterAnswer = () => server.broadcast(`next ${server.fetches}`);
  expect(await server.verified()).toBe("rejected");
  expect(server.fetches).toBe(maxFetches);
});

test("a module that is gone when its answer arrives is not found", async () => {
  const server = new Server();
  server.afterAnswer = () => server.modules.update({ kind: "modunload", mod });
  await expect(server.verified()).rejects.toMatchObject({ code: "not_found" });
});
