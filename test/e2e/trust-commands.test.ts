import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { run } from "../helpers/processes.ts";
import { servedSite } from "../helpers/site.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

setDefaultTimeout(20_000);

const { site, server } = await servedSite();

test.each([
  ["expired", ["--expires", "2020-01-31"], "its entry has expired (2020-01-31T00:00:00.000Z)"],
  ["elsewhere", ["--from", "10.0.0.0/8"], "its address 127.0.0.1 is not among 10.0.0.0/8"],
])(
  "the log names a trusted client that is not let in, with the command that helps: %s",
  async (name, flags, why) => {
    const client = await site.newClient(name);
    await site.manage(["trust", client.fingerprint, "--name", name, "--modules", "hello.ts", ...flags]);
    const refused = await site.call(["--certs", client.certs, "list"]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("or the key's entry may have expired or not allow this address");
    expect(refused.stderr).toContain("the server's log says why");

    const line = await server.line(`Refused ${name} from 127.0.0.1:`);
    const logged = JSON.parse(line) as { message: string; command: string; fingerprint: string };
    expect(logged.message).toContain(why);
    expect(logged.message).toEndWith(logged.command);
    expect(logged.fingerprint).toBe(client.fingerprint);
    expect(await site.type(logged.command)).toMatchObject({ exitCode: 0, stderr: "" });
    await site.admitted(client.certs);
    // The rest of its entry is unchanged.
    const text = await Bun.file(`${site.path}/trusted-keys.json`).text();
    expect(text).toContain(`"name":"${name}","modules":["hello.ts"]`);
  },
);

test("trusting an expired key again warns that it has expired, and says how to renew it", async () => {
  const fingerprint = "e1".repeat(32);
  await site.manage(["trust", fingerprint, "--expires", "2020-01-31"]);
  const again = await site.manage(["trust", fingerprint]);
  expect(again.stderr).toContain(`veripy-server trust ${fingerprint} --expires 30d`);
  const renewed = await site.manage(["trust", fingerprint, "--expires", "never"]);
  expect(renewed).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await Bun.file(`${site.path}/trusted-keys.json`).text()).toContain(`"${fingerprint}"`);
});

test.each([
  [["trust", "ab".repeat(32)]],
  [["trust", "ab".repeat(32), "--name", "alice"]],
  [["untrust", "alice"]],
  [["invite"]],
  [["invite", "--revoke", "alice"]],
  [["keys"]],
])("where there is no server, %p says so and creates nothing", async (args) => {
  await using here = await temporaryDirectory();
  const refused = await run([site.server, ...args], { cwd: here.path });
  expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
  expect(refused.stderr).toContain("veripy-server init");
  const json = await run([site.server, ...args, "--json"], { cwd: here.path });
  expect([json.exitCode, Object.keys(JSON.parse(json.stdout) as object)]).toEqual([2, ["error", "code"]]);
  expect(await readdir(here.path)).toEqual([]);
});

test("untrust with an unknown name fails, suggests a similar one, and changes nothing", async () => {
  await site.manage(["trust", "c4".repeat(32), "--name", "caroline"]);
  const path = `${site.path}/trusted-keys.json`;
  const before = await Bun.file(path).text();
  const refused = await site.manage(["untrust", "carolin"]);
  expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
  expect(refused.stderr).toContain("Did you mean 'caroline'?");
  const json = await site.manage(["untrust", "d5".repeat(32), "--json"]);
  expect([json.exitCode, JSON.parse(json.stdout)]).toMatchObject([2, { code: "bad_config" }]);
  expect(await Bun.file(path).text()).toBe(before);
  expect((await site.manage(["untrust", "caroline"])).exitCode).toBe(0);
});
