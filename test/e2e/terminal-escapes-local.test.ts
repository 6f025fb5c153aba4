import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { evil, evilArgument, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { dial, request } from "../helpers/frames.ts";
import { trust } from "../helpers/keys.ts";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

/** The hostile text as a literal in a module's source. */
const literal = JSON.stringify(evil);
/** The hostile text as bytes, without the lone surrogate that bytes cannot represent. */
const bytes = JSON.stringify(`${evilArgument}\n`);
/** A valid, hostile file name: without the newline and the slash. */
const evilName = `${evilArgument.replaceAll(/[\n/]/g, "")}.ts`;
const good = "export const execute = () => 'fine';\n";

let site: Site;

beforeAll(async () => {
  site = await Site.create({
    "talks.ts": `export const description = ${literal};
export const execute = (_: string, { log }: { log: Console }) => {
  console.log(${literal}); console.error(${literal}); log.warn(${literal});
  process.stdout.write(${bytes}); process.stderr.write(${bytes});
  throw new Error(${literal});
};
`,
    [evilName]: good,
  });
});
afterAll(() => site[Symbol.asyncDispose]());

describe.skipIf(process.platform === "win32")("the server's log", () => {
  test.each([[[]], [["--json"]]])(
    "with what modules, clients and files put into it steers no terminal: %p",
    async (flags) => {
      const { certs, fingerprint } = await site.newClient(`narrow${flags.length}`);
      await trust(site, { fingerprint, name: `näme ${flags.length}`, modules: ["none.ts"] });
      const command = [site.server, "--port", "0", "--log-level", "trace", "--audit", "audit.log", ...flags];
      await using server = new Terminal(command, site.path);
      const [, port] = await server.shows(/Listening on 127\.0\.0\.1:(\d+)/);

      using client = await dial(Number(port), site.certs);
      await request(client, "mod:exec", { mod: "talks.ts", args: "" }, "1");
      await server.shows(/(talks\.ts: |"text":")\\+u001b\[1A/);
      using narrow = await dial(Number(port), certs);
      await request(narrow, "mod:exec", { mod: evil, args: evil });
      await server.shows(/may not exec \\u001b\[1A/);

      await site.write("broken.ts", `throw new Error(${literal});\nexport const execute = () => "";\n`);
      await server.shows(/broken\.ts cannot be loaded: .*u001b\[1A/);
      const trusted = join(site.path, "trusted-keys.json");
      const text = await Bun.file(trusted).text();
      await replace(trusted, `{"\u009b2J\u202e":1,"\u009b2J\u202e":2}`);
      await server.shows(/Kept the last good trusted keys: .*\\u009b2J\\u202e/);
      await replace(trusted, text);

      server.type("\u0003");
      expect(await server.ended()).toBe(0);
      expect(strayEscapes(server.output)).toEqual([]);
      expect(forgedVerdicts(server.output)).toEqual([]);
      expect(server.output).toContain(`modload: \\u001b[1A`);
      expect(server.output).toContain(`Connected: näme ${flags.length} from`);
      if (flags.length > 0) {
        const records = server.output.split("\r\n").filter((line) => line.startsWith("{"));
        expect(jsonLines(records.join("\n")).map(({ text: said }) => said)).toContainEqual(evilLogged);
      }
      const audit = await Bun.file(join(site.path, "audit.log")).text();
      const refused = await Bun.file(join(site.path, "audit.log.refused")).text();
      expect(strayEscapes(audit + refused)).toEqual([]);
      expect(jsonLines(refused).map(({ mod }) => mod)).toContain(evil);
    },
  );
});

/** The second line of that text as it is logged for a module: escaped, except for the tab. */
const evilLogged = expect.stringMatching(/^verified {2}forged\.ts\\u000d.*\\u0008\t\.\\ud800$/);

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

describe.skipIf(process.platform === "win32")(
  "no escape sequence reaches the terminal when a command quotes",
  () => {
    beforeAll(async () => {
      const inHere = (name: string) => join(site.path, name);
      await writeFile(inHere("trusted.json"), `{"\u009b2J\u202e":1,"\u009b2J\u202e":2}`);
      await writeFile(inHere("assertions"), evilArgument);
      await mkdir(inHere("known"));
      await run([site.client, "init", "--certs", "known"], { cwd: site.path });
      await writeFile(inHere("known/known-servers.json"), JSON.stringify({ "\x9b2J\u202e": "0".repeat(64) }));
    });

    const onServer: [what: string, args: string[]][] = [
      ["a command that does not exist", [`dance${evilArgument}`]],
      ["an option that does not exist", [`--${evilArgument}`]],
      ["an invalid choice", ["--log-level", evilArgument]],
      ["a folder that does not exist", ["fingerprint", "--certs", evilArgument]],
      ["a --mods folder that does not exist", ["check", "--mods", join(evilArgument, "none")]],
      ["a module that does not exist", ["check", evilArgument.replaceAll("/", "")]],
      ["an invalid fingerprint", ["trust", evilArgument]],
      ["an unknown name", ["untrust", evilArgument]],
      ["an invalid assertion", ["policy", "test", "assertions"]],
      ["a file that does not exist", ["policy", "test", evilArgument]],
      ["a key in the trust file", ["policy", "test", "assertions", "--trusted-keys", "trusted.json"]],
      ["the name of a module's file", ["check"]],
    ];
    test.each(onServer)("%s (server)", (_, args) => expectNoEscape([site.server, ...args]));

    const onClient: [what: string, args: string[]][] = [
      ["a command that does not exist", [`dance${evilArgument}`]],
      ["an invalid duration", ["exec", "--timeout", evilArgument, "hello"]],
      ["a host that does not exist", ["--host", `${evilArgument}.invalid`, "list"]],
      ["an invalid server to join", ["join", evilArgument, "code"]],
      ["an invalid fingerprint", ["--server-fingerprint", evilArgument, "list"]],
      ["a server's name in a file", ["--certs", "known", "list"]],
      ["an invalid key to trust", ["trust-server", "localhost", evilArgument]],
      ["an invalid server to forget", ["forget-server", evilArgument]],
      ["a folder without the server to forget", ["forget-server", "localhost", "--certs", evilArgument]],
    ];
    test.each(onClient)("%s (client)", (_, args) => expectNoEscape([site.client, ...args]));

    test("an environment variable", async () => {
      const variables = [`VERIPY_PORT=${evilArgument}`, `VERIPY_LOG_LEVEL=${evilArgument}`];
      for (const variable of variables) {
        await expectNoEscape(["env", variable, site.client, "list"]);
        await expectNoEscape(["env", variable, site.server]);
      }
    });

    async function expectNoEscape(command: string[]): Promise<void> {
      await using terminal = new Terminal(command, site.path);
      await terminal.ended();
      const { stdout, stderr } = await run(command, { cwd: site.path });
      for (const output of [terminal.output, stdout + stderr]) {
        expect(strayEscapes(output)).toEqual([]);
        expect(forgedVerdicts(output)).toEqual([]);
        expect(output).toMatch(/\\+u00(1b|9b)/);
      }
    }
  },
);
