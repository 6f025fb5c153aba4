import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { newIdentity, trust } from "../helpers/keys.ts";
import { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const attempts = 40;
/** Five of one address or key within ten seconds, and the test may see two such windows. */
const maxLines = 10;

describe("the log is not flooded by", () => {
  let site: Site;
  let server: Running;

  beforeEach(async () => {
    site = await Site.create();
    server = await site.start(["--metrics", "0"]);
  });
  afterEach(() => site[Symbol.asyncDispose]());

  const lines = (text: string) => server.stderr.filter((line) => line.includes(text));

  test("a stranger with a fresh key for each connection", async () => {
    const keys = await Promise.all(Array.from({ length: attempts }, () => newIdentity()));
    for (const identity of keys) {
      using client = await LineClient.connect({ port: site.port, identity });
      await within(5_000, "the refusal", client.closed);
    }
    expect(lines("Refused an unknown key").length).toBeWithin(1, maxLines + 1);
    // Each is counted elsewhere.
    await refusalsCounted(attempts);
  });

  test("a client without permissions that reconnects for each request, and disconnects with a fault", async () => {
    const identity = await newIdentity();
    await trust(site, { fingerprint: identity.fingerprint, name: "bob", actions: [] });
    await server.line("Trusted keys changed");
    for (let attempt = 0; attempt < attempts; attempt++) {
      using client = await LineClient.connect({ port: site.port, identity });
      client.send(`mod:exec:1 {"mod":"m${attempt}.ts","args":""}\n`);
      await client.line("mod:exec_resp:1");
      client.send(`no frame ${attempt}\n`);
      await within(5_000, "the end", client.closed);
    }
    expect(lines("Forbidden: bob may not exec m").length).toBeWithin(1, maxLines + 1);
    expect(lines("Disconnected: bob").length).toBeWithin(1, maxLines + 1);
  });

  test("a stranger that comes back: the next line counts what was suppressed", async () => {
    const identity = await newIdentity();
    for (let attempt = 0; attempt < 3; attempt++) {
      using client = await LineClient.connect({ port: site.port, identity });
      await within(5_000, "the refusal", client.closed);
    }
    await eventually(
      "the next line",
      async () => {
        using client = await LineClient.connect({ port: site.port, identity });
        await within(5_000, "the refusal", client.closed);
        await Bun.sleep(200);
        return lines("similar refusals suppressed").length > 0;
      },
      15_000,
    );
    expect(lines("Refused an unknown key")).toHaveLength(2);
  });

  async function refusalsCounted(count: number): Promise<void> {
    const line = await server.line("Metrics are at");
    const url = /http:[^ ]+\/metrics/.exec(line)?.[0] ?? "";
    await eventually("all refusals to be counted", async () =>
      (await (await fetch(url)).text()).includes(`veripy_refusals_total{reason="untrusted"} ${count}\n`),
    );
  }
});
