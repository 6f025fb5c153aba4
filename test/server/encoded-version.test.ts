import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { snakeKeys } from "../../src/base/snake-case.ts";
import { reportOf } from "../../src/modules/module-slot.ts";
import { encodeLoaded, VersionText } from "../../src/server/encoded-version.ts";
import { FakeVersion } from "../helpers/fake-versions.ts";
import { sourceOf } from "../helpers/versions.ts";

const files = {
  "m.ts": "// desc: \"quoted\"\nimport './lib/x.ts';\n",
  "lib/x.ts": "// 😀\n",
};

describe("a version that has been loaded", () => {
  test("is encoded as its report is, and its answer to verify is the report with its texts", async () => {
    const version = await encodeLoaded(new FakeVersion(await sourceOf(files)));
    const text = VersionText.of(version);
    expect(JSON.parse(text.report)).toEqual(snakeKeys(reportOf(version)));
    const { entry, files: imported } = version.source;
    expect(JSON.parse(text.verify)).toEqual({
      ...snakeKeys(reportOf(version)),
      content: entry.content,
      files: imported.map(({ path, content, sum }) => ({ path, content, sum })),
    });
    expect(version.isStopped).toBe(false);
  });

  test("and cannot be encoded is stopped, and has not been loaded", async () => {
    const version = new FakeVersion(await sourceOf(files));
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    Object.defineProperty(version, "input", { value: circle });
    const fault = await encodeLoaded(version).catch((error) => error);
    expect(fault).toBeInstanceOf(VeripyError);
    expect([fault.code, fault.message]).toEqual([
      "bad_module",
      "m.ts: its description or input schema cannot be encoded.",
    ]);
    expect(version.isStopped).toBe(true);
  });
});
