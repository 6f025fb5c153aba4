/**
 * `bun run record`: types the README's first steps into two real terminals, in an empty folder and with the built
 * executables, and draws what they showed as docs/terminal.svg. It needs port 8443, since that is what the steps use.
 */
import { dirname, join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { Terminal } from "../helpers/terminal.ts";
import { terminalSvg } from "./terminal-svg.ts";

const root = dirname(dirname(import.meta.dir));
const columns = 108;

const { server: serverPath } = await binaries();
await using directory = await temporaryDirectory();
await using server = shell();
await using client = shell();

await server.shows(/\$ $/);
await client.shows(/\$ $/);
await command(server, "veripy-server init");
server.type("veripy-server\n");
await server.shows(/Listening on/);

await command(client, "veripy-client verify");
await command(client, "veripy-client exec hello World");
await command(client, "sed -i 's/Hello,/Welcome,/' mods/hello.ts");
await server.shows(/modreload: hello\.ts/);
await command(client, "veripy-client exec hello World");

const terminals = [
  { title: "server", output: server.output },
  { title: "client", output: client.output.replace(/\$ $/, "") },
];
if (!client.output.includes("Welcome, World!")) throw new Error(`The edit did not arrive:\n${client.output}`);
server.type("\x03");
await server.shows(/Stopped\..*\$ $/s);
await Bun.write(join(root, "docs/terminal.svg"), terminalSvg(terminals, columns));
console.log("Written: docs/terminal.svg");

function shell(): Terminal {
  // A plain shell without a line editor, whose terminal echoes exactly what is typed.
  return new Terminal(["sh"], directory.path, {
    columns,
    env: { PATH: `${dirname(serverPath)}:${process.env.PATH}`, PS1: "$ ", TERM: "xterm-256color", ENV: "" },
  });
}

/** Types a command and waits for the next prompt. */
async function command(terminal: Terminal, line: string): Promise<void> {
  const before = terminal.output.length;
  terminal.type(`${line}\n`);
  await terminal.shows(new RegExp(`^.{${before}}.*\\n\\$ $`, "s"));
}
