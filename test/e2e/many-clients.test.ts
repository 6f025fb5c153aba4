import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type VeripyClient } from "../../src/index.ts";
import { trust } from "../helpers/keys.ts";
import { Site } from "../helpers/site.ts";
import { within } from "../helpers/within.ts";

setDefaultTimeout(60_000);

let site: Site;
let keys: string[];

beforeAll(async () => {
  site = await Site.create();
  const others = [await site.newClient("second"), await site.newClient("third")];
  await trust(site, ...others.map(({ fingerprint }) => fingerprint));
  keys = [site.certs, ...others.map(({ certs }) => certs)];
});
afterAll(() => site[Symbol.asyncDispose]());

test("300 clients that connect from one address at the same moment are all served within seconds", async () => {
  await using server = await site.start();
  const connecting = Array.from({ length: 300 }, (_, index) =>
    connect({
      host: "127.0.0.1",
      port: site.port,
      certsDir: keys[index % keys.length] ?? "",
      reconnect: false,
    }),
  );
  const settled = await within(10_000, "300 clients", Promise.allSettled(connecting));
  const clients = settled.filter(
    (result): result is PromiseFulfilledResult<VeripyClient> => result.status === "fulfilled",
  );
  expect(clients).toHaveLength(300);
  await Promise.all(clients.map(({ value }) => value.sync()));
  for (const { value } of clients) value.close();
  expect(server.stderr.filter((line) => line.includes("Refused"))).toEqual([]);
});

test("the log names connections that exceed the rate", async () => {
  await using server = await site.start(["--port", "0", "--handshake-burst", "2", "--handshake-rate", "1"]);
  const connecting = Promise.allSettled(
    [1, 2, 3, 4].map(() =>
      connect({ host: "127.0.0.1", port: site.port, certsDir: site.certs, reconnect: false }),
    ),
  );
  const line = await server.line("rate_limited");
  expect(JSON.parse(line)).toMatchObject({ reason: "rate_limited" });
  expect(line).toContain("connects more often than --handshake-rate and --handshake-burst allow");
  for (const result of await connecting) {
    if (result.status === "fulfilled") result.value.close();
  }
});
