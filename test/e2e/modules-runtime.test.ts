import { describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecProgress } from "../../src/index.ts";
import { dial, request } from "../helpers/frames.ts";
import { clientOf, trustText } from "../helpers/keys.ts";
import { printedBy } from "../helpers/module-records.ts";
import { hasProcfs } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, rssOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

describe("what a module is given", () => {
  test("ctx says who calls, under which reference, and which version runs", async () => {
    await using site = await Site.create({
      "who.ts": `import type { ModuleContext } from "veripy";
        export const execute = (args: string, { client, ref, mod, tree }: ModuleContext) =>
          JSON.stringify({ args, client, ref, mod, tree });`,
    });
    const { fingerprint } = await clientOf(site);
    await writeFile(join(site.path, "trusted-keys.json"), trustText({ fingerprint, name: "alice" }));
    await site.start();
    const { stdout } = await site.call(["exec", "--json", "who", "one", "--two"]);
    const answer = JSON.parse(stdout) as { result: string; tree: string };
    const seen = JSON.parse(answer.result);
    expect(seen).toEqual({
      args: "one --two",
      client: { fingerprint, name: "alice" },
      ref: expect.stringMatching(/^[\w.-]{1,64}$/),
      mod: "who.ts",
      tree: answer.tree,
    });

    using raw = await dial(site.port, join(site.path, "certs"));
    const { payload } = await request(raw, "mod:exec", { mod: "who.ts", args: "" }, "my-own.ref_7");
    expect(JSON.parse(payload.result as string)).toMatchObject({ ref: "my-own.ref_7" });
  });

  test("a generator's strings arrive in order, its progress with them, and its return value closes it", async () => {
    await using site = await Site.create({
      "counts.ts": `export async function* execute(args: string, ctx: any) {
        for (let at = 0; at < Number(args); at++) { ctx.progress(at / Number(args), "at " + at); yield "part " + at; }
        return "the end";
      }`,
    });
    await site.start();
    using client = await connectTo(site);
    const parts: string[] = [];
    const progress: ExecProgress[] = [];
    const { result } = await client.exec("counts", "500", {
      onPart: (part) => parts.push(part),
      onProgress: (report) => progress.push(report),
    });
    expect(result).toBe("the end");
    expect(parts).toEqual(Array.from({ length: 500 }, (_, at) => `part ${at}`));
    expect(progress[0]).toEqual({ fraction: 0, message: "at 0" });
    expect(progress.at(-1)).toEqual({ fraction: 499 / 500, message: "at 499" });
    expect((await site.call(["exec", "counts", "3"])).stdout).toBe("part 0part 1part 2the end");
  });

  test.skipIf(!hasProcfs)(
    "a client that stops reading stops the generator, and the server holds a bounded rest",
    async () => {
      const [parts, size] = [1_000, 64 * 1024];
      await using site = await Site.create({
        "pours.ts": `let yielded = 0;
        export async function* execute(args: string) {
          if (args !== "") for (; yielded < ${parts}; yielded++) yield String(yielded).padStart(${size}, ".");
          return String(yielded);
        }`,
      });
      const server = await site.start();
      using client = await connectTo(site);
      const yielded = async () => Number((await client.exec("pours")).result);
      expect(await yielded()).toBe(0);
      const before = rssOf(server.process.pid);

      using raw = await dial(site.port, join(site.path, "certs"));
      raw.pause();
      raw.send('mod:exec:p {"mod":"pours.ts","args":"all"}\n');
      let last = -1;
      await eventually("the generator to stand still", async () => {
        const now = await yielded();
        const stands = now > 0 && now === last;
        last = now;
        // Long enough that one that only stumbles would be seen to go on.
        await Bun.sleep(150);
        return stands;
      });
      const growth = rssOf(server.process.pid) - before;
      console.log(
        `A generator of ${mebibytes(parts * size)} for a client that does not read stood still after ${mebibytes(last * size)}; the server grew by ${mebibytes(growth)}.`,
      );
      expect(last).toBeLessThan(parts / 2);
      expect(growth).toBeLessThan(32 * 1024 ** 2);

      raw.resume();
      await raw.line(`mod:exec_resp:p {"mod":"pours.ts","result":"${parts}"`, 15_000);
      const seen = raw.lines.filter((line) => line.startsWith("mod:exec_part:p "));
      expect(seen.length).toBe(parts);
      for (const [at, line] of seen.entries()) {
        expect(line).toStartWith(`mod:exec_part:p {"seq":${at},"data":"..`);
        expect(line).toEndWith(`.${at}"}`);
      }
    },
  );

  test("arguments that don't match the input schema are refused with the place of the error, and never reach the module", async () => {
    await using site = await Site.create({
      "strict.ts": `
        export const input = { type: "object", required: ["tags"], additionalProperties: false,
          properties: { tags: { type: "array", items: { type: "string" } }, deep: { type: "object", properties: { "a b": { type: "integer" } } } } };
        export const execute = (args: string) => { console.log("saw " + args); return args; };`,
      "broken.ts": `export const input = { type: "strnig" }; export const execute = () => "";`,
    });
    const server = await site.start(["--eager"]);
    using client = await connectTo(site);
    expect(client.reports.get("strict.ts")?.input).toMatchObject({ required: ["tags"] });
    expect(await failureOf(client.exec("strict", "no json"))).toStartWith("bad_request: args must be JSON");
    expect(await failureOf(client.exec("strict", "{}"))).toStartWith("bad_request: args: ");
    expect(await failureOf(client.exec("strict", '{"tags":["a",7]}'))).toStartWith(
      "bad_request: args.tags[1]: ",
    );
    expect(await failureOf(client.exec("strict", '{"tags":[],"deep":{"a b":1.5}}'))).toStartWith(
      'bad_request: args.deep["a b"]: ',
    );
    expect((await client.exec("strict", '{"tags":["a"]}')).result).toBe('{"tags":["a"]}');
    await server.line("saw ");
    expect(printedBy(server, "strict.ts")).toEqual(['saw {"tags":["a"]}']);
    expect(client.reports.has("broken.ts")).toBe(false);
    expect(await server.line("broken.ts cannot be loaded")).toContain("an invalid JSON Schema");
  });

  test("what it prints goes to the server's log under its name, and to no client", async () => {
    await using site = await Site.create({
      "prints.ts": `export function execute(args: string, ctx: any) {
        console.log("by log", { a: 1 });
        console.error("by error");
        console.table([{ a: 1 }]);
        process.stdout.write("by stdout\\n");
        process.stderr.write("by stderr\\n");
        ctx.log.warn("by ctx");
        console.log("\\u001b[31mred\\u0007 and {\\"level\\":\\"forged\\"}");
        return "answer";
      }`,
    });
    const server = await site.start();
    const { stdout, stderr } = await site.call(["exec", "prints"]);
    expect({ stdout, stderr }).toEqual({ stdout: "answer\n", stderr: "" });
    const texts = ["by log { a: 1 }", "by error", "by stdout", "by stderr", "by ctx"];
    await eventually("all that was printed", () =>
      texts.every((text) => printedBy(server, "prints.ts").includes(text)),
    );
    await server.line("red");
    expect(printedBy(server, "prints.ts")).toContain('\\u001b[31mred\\u0007 and {"level":"forged"}');
    // Every line of the server's own streams is one of its records.
    expect(server.stdout).toEqual([]);
    for (const line of server.stderr) expect(JSON.parse(line)).toHaveProperty("logger");
  });
});
