import { expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { sandboxSupport } from "../../src/index.ts";
import { Site } from "../helpers/site.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

const { abi, enforced } = sandboxSupport();
const everything = Object.values(enforced).every(Boolean);

const reader = `import { readFileSync } from "node:fs";
  export const execute = (path: string) => readFileSync(path, "utf8");`;

test("'doctor' prints what this system enforces", async () => {
  await using site = await Site.create();
  const text = await site.manage(["doctor"]);
  expect(text.exitCode).toBe(0);
  for (const kind of Object.keys(enforced))
    expect(text.stdout).toMatch(new RegExp(`^${kind} +(not )?enforced$`, "m"));
  const json = await site.manage(["doctor", "--json"]);
  expect(JSON.parse(json.stdout)).toEqual(sandboxSupport());
});

test("the mode decides whether a module is held to its permissions, and everyone is told", async () => {
  for (const mode of ["best-effort", "off"] as const) {
    await using site = await Site.create({ "reader.ts": reader });
    const audit = join(site.path, "audit.log");
    await site.start(["--sandbox", mode, "--audit", audit]);
    using client = await connectTo(site);
    const isEnforced = mode !== "off" && everything;
    expect((await client.info()).sandbox).toEqual({ mode, enforced: isEnforced, abi });
    const status = { sandbox: { mode, enforced: isEnforced, abi } };
    const lines = (await site.call(["modules", "--json"])).stdout.trim().split("\n");
    for (const line of lines) expect(JSON.parse(line)).toMatchObject(status);
    const { stderr } = await site.call(["modules"]);
    expect(stderr.includes("does not hold modules to all their permissions")).toBe(!isEnforced);
    const [start = ""] = (await readFile(audit, "utf8")).split("\n");
    expect(JSON.parse(start)).toMatchObject({ event: "start", sandbox: { mode, enforced: isEnforced, abi } });
    if (isEnforced)
      expect(await failureOf(client.exec("reader", "/etc/passwd"))).toContain("may not read /etc/passwd");
    else if (mode === "off") expect((await client.exec("reader", "/etc/passwd")).result).toContain("root");
  }
});

test("'enforce' starts only where everything can be enforced, and an unknown mode never", async () => {
  await using site = await Site.create({ "reader.ts": reader });
  if (everything) await site.start(["--sandbox", "enforce"]);
  else expect((await site.manage(["--port", "0", "--sandbox", "enforce"])).exitCode).toBe(2);
  expect((await site.manage(["--port", "0", "--sandbox", "on"])).exitCode).toBe(2);
});
