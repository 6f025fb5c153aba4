import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect, type ServerNews, type VeripyClient } from "../../src/index.ts";
import { Running } from "../helpers/processes.ts";
import { hasSandbox, sandboxed } from "../helpers/sandboxed.ts";
import { Site } from "../helpers/site.ts";
import { eventually, within } from "../helpers/within.ts";
import { connectTo, failureOf } from "../helpers/witness.ts";

// Edits that say something about permissions that cannot be: the last good version goes on, and nothing else notices.

const good = `export const execute = () => "good";`;

/** Resolves when the server has told that it refuses a version of `mod`, with these words. */
async function refusalOf(client: VeripyClient, mod: string, words: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const listener = (news: ServerNews) => {
    if (news.kind === "moderror" && news.mod === mod && news.error.includes(words)) resolve();
  };
  client.on("news", listener);
  await within(10_000, `a refusal with "${words}"`, promise).finally(() => client.off("news", listener));
}

describe("an edit is refused with its reason, and the last good version goes on:", () => {
  let site: Site;
  let client: VeripyClient;
  beforeAll(async () => {
    site = await Site.create({ "m.ts": good });
    await site.start(["--max-file", "8MiB"]);
    client = await connectTo(site);
  });
  afterAll(async () => {
    client.close();
    await site[Symbol.asyncDispose]();
  });

  const permissions = (value: string) => ({ "m.ts": `export const permissions = ${value};\n${good}` });
  const cases: [what: string, files: Record<string, string>, says: string][] = [
    [
      "permissions that the module widens while it loads",
      {
        "m.ts": `export const permissions = { read: ["/usr/share"] };\n(permissions.read as string[]).push("/etc");\n${good}`,
      },
      "m.ts exports other 'permissions' than its source says",
    ],
    [
      "limits that it changes while it loads",
      { "m.ts": `export const limits = { execMs: 10 };\nlimits.execMs = 1e9;\n${good}` },
      "m.ts exports other 'limits' than its source says",
    ],
    [
      "a schema that it changes while it loads",
      { "m.ts": `export const input = { type: "string" };\ninput.type = "number";\n${good}` },
      "m.ts exports other 'input' than its source says",
    ],
    [
      "a literal of a million elements",
      { "m.ts": `export const input = { enum: [${"1,".repeat(1_000_000)}] };\n${good}` },
      "Too much code in one file",
    ],
    [
      "__proto__ as a key",
      permissions(`{ "__proto__": { read: ["/"] } }`),
      "m.ts:1:30: 'permissions' has the key '__proto__'",
    ],
    [
      "permissions from two files of the tree",
      {
        "lib/a.ts": "export const permissions = {};",
        "lib/b.ts": `export const permissions = { read: ["/"] };`,
        "m.ts": `export * from "./lib/a.ts";\nexport * from "./lib/b.ts";\n${good}`,
      },
      "m.ts:2:1: 'permissions' comes from more than one 'export *'",
    ],
    [
      "a path with NUL",
      permissions(`{ read: ["/srv/\\0"] }`),
      "m.ts:1:37: 'permissions.read.0' must not contain a NUL character",
    ],
    [
      "a path with '..'",
      permissions(`{ write: ["/srv/../etc"] }`),
      "m.ts:1:38: 'permissions.write.0' must not contain '..'",
    ],
    [
      "a program that is a folder",
      permissions(`{ run: ["/usr"] }`),
      `m.ts declares run: ["/usr"], which cannot be run: it is not a file`,
    ],
    [
      "a program that is not in PATH",
      permissions(`{ run: ["no-such-program"] }`),
      `m.ts declares run: ["no-such-program"], which cannot be run: there is no such program in PATH`,
    ],
    ["an unknown key", permissions("{ reed: [] }"), "m.ts:1:"],
    ["a relative path", permissions(`{ read: ["srv"] }`), "'permissions.read.0' must be an absolute path"],
    [
      "a port out of range",
      permissions("{ connect: [65536] }"),
      "'permissions.connect.0' must be at most 65535",
    ],
    ["permissions that are computed", permissions(`{ read: ["/" + "etc"] }`), "must be a literal"],
  ];
  test.each(cases)("%s", async (_what, files, says) => {
    const refused = refusalOf(client, "m.ts", says);
    for (const [name, text] of Object.entries(files)) await site.write(name, text);
    await refused;
    expect((await client.exec("m")).result).toBe("good");
    expect((await client.exec("hello", "you")).result).toBe("Hello, you!");
  });
});

test("a temporary folder that cannot be made is the reason that an edit is refused", async () => {
  await using site = await Site.create({ "m.ts": good });
  const temporary = join(site.path, "tmp");
  await mkdir(temporary);
  await site.start([], { ...(process.env as Record<string, string>), TMPDIR: temporary });
  using client = await connectTo(site);
  expect((await client.exec("m")).result).toBe("good");
  await rename(temporary, `${temporary}.moved`);
  await writeFile(temporary, "");
  const refused = refusalOf(client, "m.ts", "Cannot make a temporary folder for a module host: ");
  // No process that is kept ready has these permissions.
  await site.write("m.ts", `export const permissions = { read: ["/usr/share"] } as const;\n${good} //`);
  await refused;
  expect((await client.exec("m")).result).toBe("good");
  await rm(temporary);
  await mkdir(temporary);
  await site.write("m.ts", `export const execute = () => "better";`);
  await eventually("the next edit", async () => (await client.exec("m")).result === "better");
});

test.skipIf(!hasSandbox)(
  sandboxed("a kernel that refuses Landlock halfway is the reason that a call fails, and the rest goes on"),
  async () => {
    await using site = await Site.create({
      "m.ts": good,
      "free.ts": `export const permissions = "all";\n${good}`,
    });
    const landlocked = join(import.meta.dir, "../helpers/landlocked.ts");
    const start = [process.execPath, landlocked, "16", site.server, "--port", "0", "--json"];
    await using server = new Running(start, { cwd: site.path });
    const { port } = JSON.parse(await server.line('"port":')) as { port: number };
    using client = await connect({ host: "localhost", port, certsDir: site.certs });
    expect(await failureOf(client.exec("m"))).toContain(
      "The sandbox could not be set up: Landlock cannot restrict this process: errno 7.",
    );
    expect((await client.exec("free")).result).toBe("good");
  },
);
