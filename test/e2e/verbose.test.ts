import { expect, test } from "bun:test";
import { join } from "node:path";
import { servedSite } from "../helpers/site.ts";

const { site } = await servedSite();

test("-v shows the steps of a connection on standard error, in order, and leaves standard output as it is", async () => {
  await Bun.write(
    join(site.path, "veripy.toml"),
    `keepalive = "30s"\n[hosts.here]\naddress = "localhost:${site.port}"\n`,
  );
  const quiet = await site.call(["exec", "hello", "Ada"]);
  const { stdout, stderr, exitCode } = await site.call(["exec", "-H", "here", "-v", "hello", "Ada"]);
  expect([exitCode, stdout]).toEqual([0, quiet.stdout]);
  expect(quiet.stderr).not.toContain("debug");

  const { stdout: client } = await site.call(["fingerprint"]);
  const { stdout: server } = await site.manage(["fingerprint"]);
  const steps = [
    "Home ., keys in ./certs, lock veripy.lock.",
    "Settings from a file: host here (veripy.toml:3), keepalive (veripy.toml:1).",
    `This client's key is ${client.trim()}.`,
    `certs/server.crt names the key of localhost:${site.port}: ${server.trim()}.`,
    `Connecting to 127.0.0.1 port ${site.port}.`,
    `TCP is connected to 127.0.0.1 port ${site.port}.`,
    "TLSv1.3 with TLS_",
    "ALPN none, after ",
    `The server has the expected key ${server.trim()}.`,
    "The server accepts this client",
    "hello.ts is in the store.",
  ];
  const found = steps.map((step) => [step, stderr.indexOf(step) >= 0]);
  expect(found).toEqual(steps.map((step) => [step, true]));
  const places = steps.map((step) => stderr.indexOf(step));
  expect(places).toEqual(places.toSorted((a, b) => a - b));
});

test("-v may stand before the command, wins over VERIPY_LOG_LEVEL, and shows the steps of a failure", async () => {
  const { stderr, exitCode } = await site.call(["-v", "--port", "1", "list"], {
    env: { PATH: process.env.PATH ?? "", VERIPY_LOG_LEVEL: "error" },
  });
  expect(exitCode).toBe(3);
  expect(stderr).toContain("Connecting to 127.0.0.1 port 1.");
  expect(stderr).not.toContain("TCP is connected");
});

test("behind a module's name, -v goes to the module", async () => {
  const { stdout, stderr } = await site.call(["exec", "hello", "-v"]);
  expect(stdout).toContain("-v");
  expect(stderr).not.toContain("debug");
});
