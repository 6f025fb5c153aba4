import { expect, setDefaultTimeout, test } from "bun:test";
import { createServer } from "node:net";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo } from "../helpers/witness.ts";

setDefaultTimeout(60_000);

/** A port that was free just now. */
async function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (address !== null && typeof address === "object") server.close(() => resolve(address.port));
  });
  return promise;
}

/** Says `word` to those who connect to the port, and answers with it, when it was told to after some time. */
const speaker = (port: number, word: string, more = "") => `
  import { createServer } from "node:net";
  export const permissions = { listen: [${port}] } as const;
  const server = createServer((socket) => socket.end(${JSON.stringify(word)}));
  await new Promise<void>((resolve, reject) => server.on("error", reject).listen(${port}, "127.0.0.1", resolve));
  ${more}
  export async function execute(ms: string) { await Bun.sleep(Number(ms)); return ${JSON.stringify(word)}; }
`;

/** What the port says; undefined when nobody listens. */
async function heard(port: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  let text = "";
  await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_, bytes) {
        text += bytes.toString();
      },
      close: () => resolve(text),
      connectError: () => resolve(undefined),
    },
  }).catch(() => resolve(undefined));
  return promise;
}

test("an edit of a module that listens takes over its port, and a broken one gives it back", async () => {
  const port = await freePort();
  await using site = await Site.create({ "speaker.ts": speaker(port, "one") });
  const server = await site.start();
  await eventually("the first version to listen", async () => (await heard(port)) === "one");

  await site.write("speaker.ts", speaker(port, "two"));
  await server.line("modreload: speaker.ts");
  expect(await heard(port)).toBe("two");

  await site.write("speaker.ts", speaker(port, "three", 'throw new Error("It is broken.");'));
  await server.line("speaker.ts cannot be loaded: speaker.ts does not load: It is broken.");
  await eventually("the last good version to listen again", async () => (await heard(port)) === "two");
  using client = await connectTo(site);
  expect((await client.exec("speaker.ts", "0")).result).toBe("two");
});

test("a call in flight ends on the version that it began on, before the port changes hands", async () => {
  const port = await freePort();
  await using site = await Site.create({ "speaker.ts": speaker(port, "one") });
  const server = await site.start();
  using client = await connectTo(site);
  expect((await client.exec("speaker.ts", "0")).result).toBe("one");
  const running = client.exec("speaker.ts", "700");
  await eventually("the call to run", async () =>
    (await client.stats()).some(({ mod, inFlight }) => mod === "speaker.ts" && inFlight === 1),
  );
  await site.write("speaker.ts", speaker(port, "two"));
  expect((await running).result).toBe("one");
  await server.line("modreload: speaker.ts");
  expect(await heard(port)).toBe("two");
  expect((await client.exec("speaker.ts", "0")).result).toBe("two");
});
