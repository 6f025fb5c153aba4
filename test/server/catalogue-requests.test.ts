import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { loadIdentity } from "../../src/identity/identity.ts";
import { LineClient } from "../helpers/line-client.ts";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";

const moduleOf = (answer: string) =>
  `export async function execute() { return ${JSON.stringify(answer)}; }\n`;

/** Sends a request, and resolves with the payload of its answer. */
async function ask(client: LineClient, request: string, ref: string): Promise<Record<string, unknown>> {
  client.send(request);
  const answer = () => client.lines.find((line) => line.includes(`_resp:${ref} `));
  await eventually(`the answer to ${request}`, () => answer() !== undefined);
  return JSON.parse((answer() ?? "").replace(/^\S+ /, ""));
}

test("clients that may sync everything get the catalogue and hear of a new one; a tree that it lacks takes no call", async () => {
  await using site = await Site.create({ "a.ts": moduleOf("one") });
  await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "key"], { cwd: site.path });
  await Bun.write(
    join(site.path, "signers"),
    `ops@example ${await Bun.file(join(site.path, "key.pub")).text()}`,
  );
  const narrow = await site.newClient("narrow");
  await site.manage(["trust", narrow.fingerprint, "--modules", "a.ts"]);
  expect((await site.manage(["sign", "--key", "key", "--name", "prod"])).exitCode).toBe(0);
  await site.start(["--signers", "signers"]);
  const { port } = site;
  using client = await LineClient.connect({ port, identity: await loadIdentity(site.certs, "client") });
  using other = await LineClient.connect({ port, identity: await loadIdentity(narrow.certs, "client") });

  const text = await Bun.file(join(site.path, "veripy.catalogue")).text();
  const sum = createHash("sha256").update(text).digest("hex");
  const synced = await ask(client, "mod:sync:1 {}\n", "1");
  expect(synced.catalogue).toEqual({ serial: 1, sum });
  expect(await ask(client, "sys:catalogue:2 {}\n", "2")).toEqual({
    catalogue: text,
    signature: await Bun.file(join(site.path, "veripy.catalogue.sig")).text(),
  });
  expect((await ask(other, "mod:sync:1 {}\n", "1")).catalogue).toBeUndefined();
  expect(await ask(other, "sys:catalogue:2 {}\n", "2")).toMatchObject({ code: "forbidden" });

  const reports = synced.modules as { mod: string; tree: string }[];
  const tree = reports.find(({ mod }) => mod === "a.ts")?.tree;
  const call = (ref: string) => `mod:exec:${ref} ${JSON.stringify({ mod: "a.ts", args: "", tree })}\n`;
  expect(await ask(client, call("3"), "3")).toMatchObject({ result: "one" });
  await site.write("a.ts", moduleOf("two"));
  expect((await site.manage(["sign", "--key", "key"])).exitCode).toBe(0);
  await eventually("the broadcast", () =>
    client.lines.some((line) => /^sys:catalogue:s\w+ \{"serial":2,/.test(line)),
  );
  expect(await ask(client, call("4"), "4")).toMatchObject({ code: "version_mismatch" });
  expect(other.lines.some((line) => line.startsWith("sys:catalogue:s"))).toBe(false);
  const broadcasts = client.lines.filter((line) => /^(sys:catalogue|modreload):s?\S* /.test(line));
  expect(broadcasts[0]).toStartWith("sys:catalogue:s");
}, 30_000);
