import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { dial, request } from "../helpers/frames.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let site: Site;
let fingerprint: string;

beforeAll(async () => {
  site = await Site.create();
  await site.start();
  fingerprint = (await site.manage(["fingerprint"])).stdout.trim();
});
afterAll(() => site[Symbol.asyncDispose]());

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  const list = (certs: string) =>
    new Terminal([site.client, "--port", String(site.port), "--certs", certs, "list"], site.path);

  /** A client that is trusted, but has no server's key. */
  async function newcomer(name: string): Promise<string> {
    const { certs, fingerprint: own } = await site.newClient(name);
    await site.manage(["trust", own]);
    await eventually("the new key to be let in", async () => {
      return (await site.call(["--certs", certs, "list"])).exitCode === 0;
    });
    await rm(join(certs, "server.crt"));
    return certs;
  }

  test("an unknown server's fingerprint is shown, and 'yes' saves it for next time", async () => {
    const certs = await newcomer("trusting");
    await using first = list(certs);
    await first.shows(/Type yes to trust it: /);
    expect(first.output).toContain(fingerprint);
    first.type("yes\r");
    expect(await first.ended()).toBe(0);
    expect(first.output).toContain("hello.ts");
    const known = await Bun.file(join(certs, "known-servers.json")).json();
    expect(known).toEqual({ [`localhost:${site.port}`]: fingerprint });

    await using second = list(certs);
    expect(await second.ended()).toBe(0);
    expect(second.output).not.toContain("Type yes");
  });

  test.each(["no", "", "y"])("the answer %p refuses the server, and nothing is saved", async (answer) => {
    const certs = await newcomer(`wary-${answer}`);
    await using client = list(certs);
    await client.shows(/Type yes to trust it: /);
    client.type(`${answer}\r`);
    expect(await client.ended()).toBe(3);
    expect(client.output).not.toContain("hello.ts");
    expect(await Bun.file(join(certs, "known-servers.json")).exists()).toBe(false);
  });

  test("Ctrl-C stops a server after its call in flight has finished", async () => {
    await using other = await Site.create({
      "slow.ts": "export const execute = () => Bun.sleep(400).then(() => 'done');\n",
    });
    await using server = new Terminal([other.server, "--port", "0"], other.path);
    const [, port] = await server.shows(/Listening on 127\.0\.0\.1:(\d+), /);
    using client = await dial(Number(port), other.certs);
    const call = request(client, "mod:exec", { mod: "slow.ts", args: "" });
    await request(client, "sys:ping", {}, "p");
    server.type("\u0003");
    expect((await call).payload).toMatchObject({ result: "done" });
    expect(await server.ended()).toBe(0);
    expect(server.output).toContain("Stopping. Press Ctrl-C again to stop at once.");
  });
});
