import { describe, expect, test } from "bun:test";
import type { ModuleReport } from "../../src/protocol/messages.ts";
import { Broadcaster } from "../../src/server/broadcast.ts";
import type { Session } from "../../src/server/session.ts";

const report: ModuleReport = {
  mod: "a.ts",
  desc: "",
  sum: "1".repeat(64),
  tree: "2".repeat(64),
  permissions: { read: ["/srv"] },
  describedBy: "source",
};

/** A client that may know of `visible`, and the lines it was sent. */
function clientWith(...visible: string[]) {
  const lines: string[] = [];
  const session = {
    maySee: (mod: string) => visible.includes(mod),
    broadcast: (line: string, mod: string) => {
      if (visible.includes(mod)) lines.push(line);
    },
  } as unknown as Session;
  return { session, lines };
}

describe("a broadcast", () => {
  test("is the same line for every client that may know of the module", () => {
    const broadcaster = new Broadcaster();
    const [one, two, other] = [clientWith("a.ts"), clientWith("a.ts", "b.ts"), clientWith("b.ts")];
    broadcaster.send({ kind: "modload", report }, [one.session, two.session, other.session]);
    const { describedBy, ...rest } = report;
    const line = `modload:modload:s1 ${JSON.stringify({ ...rest, described_by: describedBy })}\n`;
    expect([one.lines, two.lines, other.lines]).toEqual([[line], [line], []]);
  });

  test("has a REF that no earlier one had", () => {
    const broadcaster = new Broadcaster();
    const refs = Array.from({ length: 100 }, () => broadcaster.nextRef());
    expect(new Set(refs).size).toBe(100);
  });

  test("of a fault names a file only to clients that may know of it, and never a path of the server", () => {
    const broadcaster = new Broadcaster();
    const [insider, outsider] = [clientWith("a.ts", "b.ts"), clientWith("a.ts")];
    const error = "a.ts: b.ts does not load.";
    const detail = "/srv/mods/b.ts:1:1 does not load.";
    const change = { kind: "moderror", mod: "a.ts", error, detail, others: ["b.ts"] } as const;
    broadcaster.send(change, [insider.session, outsider.session]);
    expect(insider.lines.join()).toContain(error);
    expect(outsider.lines.join()).toContain('"mod":"a.ts"');
    expect(outsider.lines.join()).not.toContain("b.ts");
    expect([...insider.lines, ...outsider.lines].join()).not.toContain("/srv");
  });
});
