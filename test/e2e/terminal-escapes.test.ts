import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { fingerprintOfX509 } from "../../src/identity/fingerprint.ts";
import type { Identity } from "../../src/identity/identity.ts";
import {
  createCode,
  exporterBytes,
  exporterLabel,
  formatCode,
  proofOf,
  verifierOf,
} from "../../src/trust/invitation-code.ts";
import { AnsweringServer, honestFrame, type Script } from "../helpers/answering-server.ts";
import { binaries } from "../helpers/binaries.ts";
import { evil, evilArgument, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { newIdentity } from "../helpers/keys.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

let identity: Identity;
let home: { path: string } & AsyncDisposable;
let client: string;

beforeAll(async () => {
  ({ client } = await binaries());
  identity = await newIdentity("server");
  home = await temporaryDirectory();
  await run([client, "init", "--home", "."], { cwd: home.path });
});
afterAll(() => home[Symbol.asyncDispose]());

/** The frames of an answer: a type with its payload, or the rest of a line after `mod:TYPE:REF `. */
type Answer = readonly (readonly [type: string, payload: object | string])[];

/** Answers the named requests as given, and all others honestly. */
function answering(answers: Readonly<Record<string, Answer>>): Script {
  return (line) => {
    const [, header = "", ref = ""] = /^(\w+:\w+):(\S+)/.exec(line) ?? [];
    const answer = answers[header];
    if (answer === undefined) return honestFrame(line);
    return answer.map(([type, payload]) => frame(type, ref, payload)).join("");
  };
}

function frame(type: string, ref: string, payload: object | string): string {
  return `${type}:${ref} ${typeof payload === "string" ? payload : JSON.stringify(payload)}\n`;
}

const content = "export const execute = () => '';\n";
const sum = sha256(content);
// Without line breaks, for which `sha256sum` has a notation of its own.
const mod = evil.replaceAll(/[\r\n]/g, "");
const path = `lib/${mod}`;
const report = { mod, desc: evil, sum, tree: treeOf({ [mod]: content, [path]: content }) };
const verified = { ...report, content, files: [{ path, content, sum }] };
const stats = {
  mod: evil,
  tree: sum,
  current: false,
  state: evil,
  calls: 0,
  failures: 0,
  restarts: 0,
  in_flight: 0,
};
const listed = (reports: object[]): Answer => [["mod:sync_resp", { modules: reports }]];

const scenarios: readonly {
  readonly what: string;
  readonly args: readonly string[];
  readonly answers: Readonly<Record<string, Answer>>;
  readonly exitCode: number;
  /** The output has a status line, with carriage returns of our own. */
  readonly isRedrawn?: boolean;
}[] = [
  {
    what: "its error to a list",
    args: ["list"],
    answers: { "mod:sync": [["mod:sync_resp", { error: evil, code: "forbidden" }]] },
    exitCode: 3,
  },
  {
    what: "a module's name and description",
    args: ["list"],
    answers: { "mod:sync": listed([report]) },
    exitCode: 0,
  },
  {
    what: "what it breaks the protocol with",
    args: ["list"],
    answers: { "mod:sync": [["mod:sync_resp", `{"modules":${evil.replaceAll(/[\n\ud800]/g, "")}}`]] },
    exitCode: 3,
  },
  {
    what: "its error to a verification",
    args: ["verify"],
    answers: { "mod:verify": [["mod:verify_resp", { error: evil, code: "busy" }]] },
    exitCode: 1,
    isRedrawn: true,
  },
  {
    what: "the names of a verified module and its files",
    args: ["verify"],
    answers: { "mod:sync": listed([report]), "mod:verify": [["mod:verify_resp", verified]] },
    exitCode: 0,
  },
  {
    what: "the names in a verdict against it",
    args: ["verify"],
    answers: {
      "mod:sync": listed([report]),
      "mod:verify": [["mod:verify_resp", { ...verified, mod: `${evil}x`, sum: "0".repeat(64) }]],
    },
    exitCode: 4,
  },
  {
    what: "the error that a module was not trusted for",
    args: ["exec", "echo"],
    answers: {
      "mod:verify": [["mod:verify_resp", { ...verified, mod: evil, sum: "0".repeat(64) }]],
    },
    exitCode: 4,
  },
  {
    what: "a module's error",
    args: ["exec", "echo"],
    answers: { "mod:exec": [["mod:exec_resp", { error: evil, code: "exec_failed" }]] },
    exitCode: 1,
  },
  {
    what: "the name of another module that it ran",
    args: ["exec", "echo"],
    answers: { "mod:exec": [["mod:exec_resp", { mod: evil, result: "", sum, tree: sum }]] },
    exitCode: 4,
  },
  {
    what: "a call's progress",
    args: ["exec", "echo"],
    answers: {
      "mod:exec": [
        ["mod:exec_progress", { fraction: 0.5, message: evil }],
        ["mod:exec_resp", { error: "no", code: "exec_failed" }],
      ],
    },
    exitCode: 1,
    isRedrawn: true,
  },
  {
    what: "a module's name and state, and its sandbox",
    args: ["modules"],
    answers: {
      "mod:stats": [
        ["mod:stats_resp", { modules: [stats], sandbox: { mode: evil, enforced: false, abi: 0 } }],
      ],
    },
    exitCode: 0,
  },
  {
    what: "its error to a rotation",
    args: ["rotate", "--certs", "rotating", "--host", "127.0.0.1"],
    answers: { "mod:sync": [["mod:sync_resp", { error: evil, code: "forbidden" }]] },
    exitCode: 3,
  },
  {
    what: "its error to a client that joins",
    args: ["join", "127.0.0.1", formatCode(createCode())],
    answers: { "sys:join": [["sys:join_resp", { error: evil, code: "forbidden" }]] },
    exitCode: 3,
  },
  {
    what: "garbage sent to a client that joins",
    args: ["join", "127.0.0.1", formatCode(createCode())],
    // Not a frame, so it is quoted as JSON, which leaves some characters as they are.
    answers: { "sys:join": [["sys:join_resp", `"\x9b2J\u202e${evilArgument.replaceAll("\n", "")}"`]] },
    exitCode: 3,
  },
];

describe.skipIf(process.platform === "win32")(
  "no escape sequence from a server reaches the terminal:",
  () => {
    for (const { what, args, answers, exitCode, isRedrawn = false } of scenarios) {
      test(what, async () => {
        using server = new AnsweringServer(identity);
        server.script = answering(answers);
        await cp(join(home.path, "certs"), join(home.path, "rotating"), { recursive: true, force: true });
        const [name = "", ...rest] = args;
        const keyFlag = ["--server-fingerprint", identity.fingerprint];
        // On a terminal, the client would ask whether to save the key.
        const asks = name !== "join" && name !== "rotate";
        const pinned = name === "join" ? [] : [...keyFlag, ...(asks ? ["--no-remember"] : [])];
        const command = [client, name, "--port", String(server.port), ...pinned, ...rest];
        const asJson = [client, name, "--json", "--port", String(server.port), ...pinned, ...rest];

        for (const each of [command, asJson]) {
          await using terminal = new Terminal([...each], home.path);
          expect(await terminal.ended()).toBe(exitCode);
          const drawn = isRedrawn ? terminal.output.replaceAll(/\r(?!\n)/g, "\n") : terminal.output;
          expect(strayEscapes(drawn)).toEqual([]);
          expect(forgedVerdicts(terminal.output)).toEqual([]);
          expect(terminal.output).toMatch(/\\u00[19]b/);
        }
        const { stdout, stderr } = await run(command, { cwd: home.path });
        expect(strayEscapes(stdout + stderr)).toEqual([]);
        expect(forgedVerdicts(stdout + stderr)).toEqual([]);

        const json = await run(asJson, { cwd: home.path });
        expect(strayEscapes(json.stdout)).toEqual([]);
        expect(jsonLines(json.stdout)).not.toBeEmpty();
      });
    }
  },
);

describe.skipIf(process.platform === "win32")("no escape sequence reaches the terminal", () => {
  const sum64 = "0".repeat(64);
  const fields = { mod: evil, desc: evil, sum: sum64, tree: sum64 };
  const broadcasts = [
    frame("modload:modload", "s1", fields),
    frame("modreload:modreload", "s2", fields),
    frame("moderror:moderror", "s3", { mod: evil, error: evil }),
    frame("modunload:modunload", "s4", { mod: evil }),
    frame("sys:rotate", "s5", { old: evil, new: evil, [evil]: evil }),
    frame("sys:drain", "s6", { reason: evil }),
    frame("sys:error", "-", { error: evil, code: "busy" }),
  ].join("");

  test.each([[[]], [["--json"]], [["--log-level", "trace"]], [["--json", "--log-level", "trace"]]])(
    "in broadcasts and after a reconnection, with the flags %p",
    async (flags) => {
      using server = new AnsweringServer(identity);
      let isFirst = true;
      server.script = (line, asker) => {
        if (line.startsWith("mod:verify")) {
          // The client handles broadcasts by now.
          if (isFirst) {
            asker.write(broadcasts);
            setTimeout(() => asker.end(), 200);
          }
          isFirst = false;
          return frame("mod:verify_resp", line.split(/[: ]/)[2] ?? "", { error: evil, code: "busy" });
        }
        return isFirst ? honestFrame(line) : answering({ "mod:sync": listed([report]) })(line, asker);
      };
      const keyFlags = ["--server-fingerprint", identity.fingerprint, "--no-remember"];
      const pinned = ["--port", String(server.port), ...keyFlags];
      await using terminal = new Terminal([client, ...pinned, ...flags], home.path);
      await terminal.shows(flags.includes("--json") ? /"event":"reconnected"/ : /Reconnected; new /);
      await terminal.shows(flags.includes("--json") ? /"cause":"reconnected"/ : /UNKNOWN.*title/);
      terminal.type("\u0003");
      expect(await terminal.ended()).toBe(130);
      expect(strayEscapes(terminal.output)).toEqual([]);
      expect(forgedVerdicts(terminal.output)).toEqual([]);
      for (const event of ["modload", "modreload", "moderror", "modunload"])
        expect(terminal.output).toContain(event);
      expect(terminal.output).toMatch(/WARNING|"rotate_refused"/);
      expect(terminal.output).toMatch(/The server closed the connection: \\+u001b/);
    },
  );

  test("in the name that a server gives a client that joins", async () => {
    const code = createCode();
    const text = formatCode(code);
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: {
        key: identity.keyPem,
        cert: identity.certificatePem,
        requestCert: true,
        rejectUnauthorized: false,
      },
      socket: {
        data: (socket, chunk) => {
          const certificate = socket.getPeerX509Certificate();
          const proof = proofOf("server", verifierOf(code), {
            // Bun's types say that it returns undefined.
            exporter: socket.exportKeyingMaterial(exporterBytes, exporterLabel) as unknown as Uint8Array,
            client: fingerprintOfX509(certificate),
            server: identity.fingerprint,
          });
          const ref = chunk.toString().split(/[: ]/)[2] ?? "";
          socket.write(frame("sys:join_resp", ref, { proof, name: evil.slice(0, 64) }));
        },
      },
    });
    for (const flags of [[], ["--json"]]) {
      const command = [client, "join", `127.0.0.1:${server.port}`, text, "--certs", "joined", ...flags];
      await using terminal = new Terminal(command, home.path);
      expect(await terminal.ended()).toBe(0);
      expect(terminal.output).toContain("\\u001b[1A");
      expect(strayEscapes(terminal.output)).toEqual([]);
      expect(forgedVerdicts(terminal.output)).toEqual([]);
    }
    server.stop(true);
  });
});
