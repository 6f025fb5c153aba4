import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

setDefaultTimeout(30_000);

test("a compiled program that embeds the server is its own module host", async () => {
  await using here = await temporaryDirectory();
  const outfile = join(here.path, "embedding");
  const built = await Bun.build({
    entrypoints: [join(import.meta.dir, "fixtures", "embedding.ts")],
    target: "bun",
    compile: { outfile },
  });
  expect(built.logs.filter(({ level }) => level === "error")).toEqual([]);
  const { exitCode, stdout, stderr } = await run([outfile], { cwd: here.path });
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "Hello, embedder!\n", stderr: "" });
});
