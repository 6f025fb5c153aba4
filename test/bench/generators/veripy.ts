// VeriPy's own client, as a program that embeds the library uses it: verified once, then called.
import { basename } from "node:path";
import { connect, type ExecResult, type VeripyClient } from "../../../src/index.ts";
import type { Command, Result, Target } from "../harness/commands.ts";
import { saveAgain } from "../harness/edit.ts";
import { type Connection, runGenerator } from "../harness/generator.ts";

await runGenerator<ExecResult>({
  async connect(target): Promise<Connection<ExecResult>> {
    const client = await open(target);
    const verdict = await client.verify("hello.ts");
    if (!verdict.verified) throw new Error("hello.ts is not what the server said it is.");
    return {
      call: (args) => client.exec("hello.ts", args),
      close: () => client.close(),
    };
  },
  textOf: ({ result }) => result,
  edits,
});

function open({ host, port, certs }: Target): Promise<VeripyClient> {
  return connect({ host, port, certsDir: certs });
}

/** From just before a file is saved to a verdict on exactly the bytes that were saved. */
async function edits(target: Target, command: Extract<Command, { do: "edits" }>): Promise<Result> {
  const client = await open(target);
  const mod = basename(command.file);
  const verified: number[] = [];
  for (let round = 0; round < command.times; round++) {
    await new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(() => reject(new Error("An edit was not verified in 10 s.")), 10_000);
      let sum = "";
      client.removeAllListeners("news").on("news", async (news) => {
        if (news.kind !== "modreload" || news.mod !== mod) return;
        const verdict = await client.verify(mod);
        if (!verdict.verified || verdict.sum !== sum) return;
        verified.push(performance.now() - start);
        clearTimeout(deadline);
        resolve();
      });
      const start = performance.now();
      sum = saveAgain(command.file, round);
    });
    // People's saves come one by one and at no fixed step to any timer of the server.
    await new Promise((resolve) => setTimeout(resolve, 40 + Math.random() * 60));
  }
  client.close();
  return { count: verified.length, ms: 0, times: { verified } };
}
