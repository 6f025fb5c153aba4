import { expect, test } from "bun:test";
import { blocksOf } from "../helpers/readme.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

// The README's first page shows a session. Every line of output in it must be true, to the digits.

interface Step {
  readonly command: string;
  readonly output: string;
}

/** The commands of a block, without what a comment says of them, and what is printed below each. */
function stepsOf(block: string): Step[] {
  return block
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [line = "", ...output] = step.split("\n");
      return { command: line.replace(/\s+# .*$/, ""), output: output.join("\n") };
    });
}

/** When and by whom is different each time. */
function withoutWhen(output: string): string {
  return output.replaceAll(/\S+Z by \S+/g, "WHEN");
}

test("what the README shows of approving is what is printed", async () => {
  await using site = await Site.create();
  await site.start();
  const [block = ""] = await blocksOf("README.md", "console");
  const steps = stepsOf(block);
  expect(steps.length).toBeGreaterThan(3);
  for (const { command, output } of steps) {
    const [program, ...words] = command.split(" ");
    if (program !== "veripy-client") {
      expect((await site.type(command)).exitCode).toBe(0);
      // The edit arrives at the server.
      await eventually("the edit", async () => (await site.call(["list"])).stdout.includes("pending"));
    } else if (words[0] === "approve") {
      await using terminal = new Terminal([site.client, "--port", String(site.port), ...words], site.path, {
        env: { NO_COLOR: "1" },
      });
      await terminal.shows(/\(y\/n\/s\/q\)/);
      terminal.type("y\r");
      expect(await terminal.ended()).toBe(0);
      const shown = terminal.output.replaceAll("\r", "");
      for (const line of output.trimEnd().split("\n")) expect(shown).toContain(line.replace(/ y$/, ""));
    } else if (output === "") {
      // In the README this one is explained, not shown: the pending version makes it fail.
      expect((await site.call(words)).exitCode).toBe(4);
    } else {
      const { stdout, stderr } = await site.call(words);
      expect(withoutWhen(stderr + stdout)).toBe(withoutWhen(output));
    }
  }
});
