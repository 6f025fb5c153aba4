import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, posix } from "node:path";

/** Which other parts each part may import. Its own folder is always allowed. */
const mayImport: Record<string, readonly string[]> = {
  base: [],
  manifest: ["base"],
  identity: ["base"],
  protocol: ["base"],
  source: ["manifest", "protocol", "base"],
  host: ["source", "manifest", "protocol", "base"],
  modules: ["host", "source", "manifest", "protocol", "base"],
  trust: ["identity", "protocol", "base"],
  tls: ["identity", "protocol", "base"],
  approvals: ["catalogue", "manifest", "identity", "protocol", "base"],
  catalogue: ["identity", "protocol", "base"],
  client: ["approvals", "catalogue", "manifest", "tls", "trust", "identity", "protocol", "base"],
  server: [
    "modules",
    "host",
    "source",
    "manifest",
    "catalogue",
    "tls",
    "trust",
    "identity",
    "protocol",
    "base",
  ],
  index: [
    "server",
    "client",
    "approvals",
    "catalogue",
    "modules",
    "host",
    "manifest",
    "tls",
    "trust",
    "identity",
    "protocol",
    "base",
  ],
  cli: ["index"],
  tools: [],
};

/** Folders that must not import each other: the two ends of a module host's socket. */
const walls: readonly (readonly [string, string])[] = [["src/host/parent/", "src/host/child/"]];

/** Packages that only one place may import. All other dependencies in package.json are free to every part but the tools. */
const packageOwners: Record<string, string> = {
  "@noble/hashes": "src/base/sha256.ts",
  "jsonc-parser": "src/base/strict-json.ts",
  diff: "src/approvals/difference.ts",
  acorn: "src/manifest/parse-source.ts",
  "@sveltejs/acorn-typescript": "src/manifest/parse-source.ts",
  commander: "src/cli/",
};

/** Imports that break the rule, each with its reason. */
const importExceptions: Record<string, string> = {
  "src/cli/server.ts → src/host/child/main.ts":
    "a module host starts in milliseconds only if the rest of the library is not loaded",
  "src/cli/server.ts → src/host/child/enter-sandbox.ts":
    "as above; what comes before the sandbox is loaded twice",
  "src/server/init.ts → mods/hello.ts": "'init' writes out this module, which it imports as text",
};

/** Files that read the environment, through `process.env` or commander's `.env(…)`, each with its reason. */
const environmentReaders: Record<string, string> = {
  "src/cli/options.ts": "the variables that stand for a flag",
  "src/cli/environment.ts": "the other variables of the two commands",
  "src/host/parent/command.ts": "builds the small environment of a module host",
  "src/host/child/enter-sandbox.ts": "the rules of a module's sandbox come in its process's environment",
};

/** Files that use a standard stream or the console, each with its reason. The tools may: they print only their own text. */
const outputWriters: Record<string, string> = {
  "src/cli/ui.ts": "all output of the commands, escaped",
  "src/cli/line-editor.ts": "the line that a person types in the shell, which readline draws",
  "src/cli/screen.ts": "the frames of a table that is redrawn, which are escaped texts",
  "src/host/child/main.ts": "a module's process: its standard error is a pipe to the server, which logs it",
  "src/host/transport.ts":
    "a module's process: its standard streams are the control channel where sockets are not",
  "src/host/child/console.ts": "a module's process: replaces `console`",
};

const maxFileLines = 300;

/** Files of `src/` that are longer than that, each with its reason. */
const longFiles: Record<string, string> = {
  "src/modules/registry.ts": "one state: the slots, and what of them is admitted, prepared and barred",
  "src/server/server.ts": "puts all parts of a server together",
};

/** No room of `src/` may have more than this part of all lines. */
const maxRoomShare = 1 / 5;

const root = dirname(import.meta.dir);
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  dependencies: Record<string, string>;
};

/** One sentence for each rule that one of the files (path below the root → text) breaks. */
function violations(files: ReadonlyMap<string, string>): string[] {
  if (files.size === 0) throw new Error("Cannot check the import rule: no files were found.");
  return [...files].flatMap(([path, text]) => {
    const code = withoutComments(text);
    const found = importsOf(code).flatMap((specifier) => importViolation(path, specifier) ?? []);
    // src/identity/x509.ts says why not. Built-ins and types are not bundled.
    for (const [, name] of code.matchAll(/(?<!typeof )import\(\s*["']((?!node:|bun:|\.)[^"']+)["']/g)) {
      found.push(`${path} imports the package '${name}' on demand`);
    }
    if (readsEnvironment(code) && !(path in environmentReaders)) {
      found.push(`${path} reads the environment`);
    }
    if (touchesOutput(code) && !(path in outputWriters) && partOf(path) !== "tools") {
      found.push(`${path} uses a standard stream or the console`);
    }
    // Only what was asked for with `--raw` is printed unescaped.
    if (/\bprintRaw\(/.test(code) && !["src/cli/ui.ts", "src/cli/exec-output.ts"].includes(path)) {
      found.push(`${path} prints without escaping`);
    }
    return found;
  });
}

function readsEnvironment(code: string): boolean {
  return /\b(process|Bun|import\.meta)\.env\b|\.env\("/.test(code);
}

function touchesOutput(code: string): boolean {
  return /\b(process|Bun)\.(stdout|stderr)\b|\bconsole\b(?!["'])|\bwriteSync\([12],|["']\/dev\/(tty|std)/.test(
    code,
  );
}

function importViolation(path: string, specifier: string): string | undefined {
  const part = partOf(path);
  const allowed = mayImport[part];
  if (allowed === undefined) return `${path} is not in a known part of src/`;

  if (specifier.startsWith(".")) {
    const target = posix.normalize(posix.join(posix.dirname(path), specifier));
    if (`${path} → ${target}` in importExceptions) return undefined;
    if (!target.startsWith("src/")) return `${path} imports ${target}, outside src/`;
    const wall = walls.find((rooms) => rooms.some((room) => path.startsWith(room)));
    if (wall?.some((room) => target.startsWith(room) && !path.startsWith(room))) {
      return `${path} imports ${target}, across a wall`;
    }
    const other = partOf(target);
    return other === part || allowed.includes(other) ? undefined : `${path} imports ${target}`;
  }

  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (/^(node|bun):/.test(specifier) || name === "bun") return undefined;
  if (builtinModules.includes(name)) return `${path} imports '${specifier}' without the prefix node:`;
  if (part === "tools") return `${path} imports the package '${name}'`;
  if (!(name in dependencies)) return `${path} imports '${name}', which is not a dependency in package.json`;
  const owner = packageOwners[name];
  if (owner !== undefined && !path.startsWith(owner)) {
    return `${path} imports '${name}', which belongs to ${owner}`;
  }
  return undefined;
}

/** `src/tls/listener.ts` → `tls`; `src/index.ts` → `index`. */
function partOf(path: string): string {
  const [, first = ""] = path.split("/");
  return first.replace(/\.ts$/, "");
}

/** Static imports and re-exports, including those of types, and literal `import()`. */
function importsOf(code: string): string[] {
  const patterns = [
    /^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
    /^import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /(?<![.#])\brequire\(\s*["']([^"']+)["']/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** Removes block comments that begin a line, and `//` comments. That is enough for formatted code. */
function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, "").replace(/(^|\s)\/\/.*$/gm, "");
}

function sourceFiles(): Map<string, string> {
  const paths = [...new Bun.Glob("src/**/*.{ts,tsx,js,mts,cts}").scanSync({ cwd: root })];
  return new Map(
    paths
      .map((path) => path.replaceAll("\\", "/"))
      .sort()
      .map((path) => [path, readFileSync(join(root, path), "utf8")]),
  );
}

test("imports point down only, and the rules for packages, the environment and output hold", () => {
  expect(violations(sourceFiles())).toEqual([]);
});

/** Files that import each other in a circle, including imports of types. */
function circles(files: ReadonlyMap<string, string>): string[][] {
  const imports = new Map(
    [...files].map(([path, text]) => [
      path,
      importsOf(withoutComments(text))
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => posix.normalize(posix.join(posix.dirname(path), specifier))),
    ]),
  );
  // Remove files that import none of the rest, or that none of the rest imports, until only circles are left.
  for (let size = -1; size !== imports.size; ) {
    size = imports.size;
    const imported = new Set([...imports.values()].flat());
    for (const [path, targets] of imports) {
      if (!imported.has(path) || !targets.some((target) => imports.has(target))) imports.delete(path);
    }
  }
  return imports.size === 0 ? [] : [[...imports.keys()].sort()];
}

test("no files import each other in a circle", () => {
  expect(circles(sourceFiles())).toEqual([]);
});

test("a circle of imports is found, also through types, without the files that lead into or out of it", () => {
  const files = new Map([
    ["src/base/a.ts", 'import type { B } from "./b.ts";'],
    ["src/base/b.ts", 'import { c } from "./c.ts";'],
    ["src/base/c.ts", 'import { a } from "./a.ts";\nimport { d } from "./d.ts";'],
    ["src/base/d.ts", "export const d = 1;"],
    ["src/base/e.ts", 'import { a } from "./a.ts";'],
  ]);
  expect(circles(files)).toEqual([["src/base/a.ts", "src/base/b.ts", "src/base/c.ts"]]);
});

function lineCount(text: string): number {
  return text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
}

function filesOverLimit(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([path, text]) => (lineCount(text) > maxFileLines ? [path] : []));
}

/** The rooms, as `mayImport` names them, that have more than their share of all lines. */
function roomsOverLimit(files: ReadonlyMap<string, string>): string[] {
  const lines: Record<string, number> = {};
  let total = 0;
  for (const [path, text] of files) {
    lines[partOf(path)] = (lines[partOf(path)] ?? 0) + lineCount(text);
    total += lineCount(text);
  }
  return Object.keys(lines).filter((room) => (lines[room] ?? 0) > total * maxRoomShare);
}

test(`no source file has more than ${maxFileLines} lines, except those listed with a reason`, () => {
  // Equal, not contained: a file that was shortened leaves the list.
  expect(filesOverLimit(sourceFiles())).toEqual(Object.keys(longFiles).sort());
});

test("a file is too long from one line past the limit on", () => {
  const files = new Map([
    ["src/base/a.ts", "x\n".repeat(maxFileLines)],
    ["src/base/b.ts", "x\n".repeat(maxFileLines + 1)],
    ["src/base/c.ts", `${"x\n".repeat(maxFileLines)}x`],
  ]);
  expect(filesOverLimit(files)).toEqual(["src/base/b.ts", "src/base/c.ts"]);
});

test("no room has more than a fifth of the lines of src/", () => {
  expect(roomsOverLimit(sourceFiles())).toEqual([]);
});

test("a room is too big from one line past its share on, however its lines are spread over files", () => {
  const rooms = ["base", "tls", "trust", "server"].map((room): [string, string] => [
    `src/${room}/a.ts`,
    "x\n".repeat(10),
  ]);
  const client = (lines: number): [string, string] => ["src/client/a.ts", "x\n".repeat(lines)];
  expect(roomsOverLimit(new Map([...rooms, client(10)]))).toEqual([]);
  expect(roomsOverLimit(new Map([...rooms, client(10), ["src/client/b/c.ts", "x\n"]]))).toEqual(["client"]);
});

test("the rule names exactly the parts of src/", () => {
  const parts = new Set([...sourceFiles().keys()].map(partOf));
  expect([...parts].sort()).toEqual(Object.keys(mayImport).sort());
});

test("every exception to the rule is still needed", () => {
  const files = sourceFiles();
  for (const exception of Object.keys(importExceptions)) {
    const [path = "", target = ""] = exception.split(" → ");
    const targets = importsOf(withoutComments(files.get(path) ?? "")).map((specifier) =>
      posix.normalize(posix.join(posix.dirname(path), specifier)),
    );
    expect(targets).toContain(target);
  }
  for (const path of Object.keys(environmentReaders)) {
    expect({ path, reads: readsEnvironment(withoutComments(files.get(path) ?? "")) }).toEqual({
      path,
      reads: true,
    });
  }
});

test("every file that is allowed to use a standard stream or the console still does", () => {
  const files = sourceFiles();
  for (const path of Object.keys(outputWriters)) {
    const touches = touchesOutput(withoutComments(files.get(path) ?? ""));
    expect({ path, touches }).toEqual({ path, touches: true });
  }
});

test("a check of no files fails instead of passing", () => {
  expect(() => violations(new Map())).toThrow("no files were found");
});

describe("the rule forbids", () => {
  const broken: [what: string, path: string, line: string][] = [
    ["an import of the protocol in base", "src/base/a.ts", 'import { x } from "../protocol/frame.ts";'],
    ["a type from a higher part", "src/protocol/a.ts", 'import type { X } from "../server/session.ts";'],
    [
      "an import of the protocol in identity",
      "src/identity/a.ts",
      'import { x } from "../protocol/frame.ts";',
    ],
    [
      "an import of identity in protocol",
      "src/protocol/a.ts",
      'import { x } from "../identity/identity.ts";',
    ],
    ["an import of tls in modules", "src/modules/a.ts", 'import { x } from "../tls/duplex.ts";'],
    ["an import of the registry in host", "src/host/a.ts", 'import { x } from "../modules/registry.ts";'],
    ["an import of host in source", "src/source/a.ts", 'import { x } from "../host/protocol.ts";'],
    ["an import of source in manifest", "src/manifest/a.ts", 'import { x } from "../source/read-source.ts";'],
    ["an import of host in the client", "src/client/a.ts", 'import { x } from "../host/child/main.ts";'],
    ["an import of source in the client", "src/client/a.ts", 'import { x } from "../source/read-source.ts";'],
    ["an import of tls in trust", "src/trust/a.ts", 'import { x } from "../tls/peer.ts";'],
    [
      "an import of the module's side of a host on the server's side",
      "src/host/parent/a.ts",
      'import { x } from "../child/main.ts";',
    ],
    [
      "an import of the server's side of a host on the module's side",
      "src/host/child/a.ts",
      'import type { X } from "../parent/process.ts";',
    ],
    ["an import of modules in tls", "src/tls/a.ts", 'import { x } from "../modules/registry.ts";'],
    ["an import of the client in the server", "src/server/a.ts", 'import { x } from "../client/client.ts";'],
    ["a re-export of the server in the client", "src/client/a.ts", 'export * from "../server/server.ts";'],
    ["an import of the library's index in a part", "src/server/a.ts", 'import { x } from "../index.ts";'],
    ["an import past the index in a command", "src/cli/a.ts", 'import { x } from "../tls/connector.ts";'],
    ["a re-export of the commands in the index", "src/index.ts", 'export { x } from "./cli/ui.ts";'],
    ["an import on several lines", "src/base/a.ts", 'import {\n  x,\n} from "../tls/duplex.ts";'],
    ["an import for its effect", "src/base/a.ts", 'import "../tls/duplex.ts";'],
    ["a package that is imported on demand", "src/server/a.ts", 'const x = await import("zod");'],
    ["a dynamic import", "src/base/a.ts", 'const x = await import("../tls/duplex.ts");'],
    ["an import from outside src/", "src/base/a.ts", 'import x from "../../package.json";'],
    ["a second user of @noble/hashes", "src/tls/a.ts", 'import { x } from "@noble/hashes/sha2.js";'],
    ["commander outside the commands", "src/server/a.ts", 'import { Command } from "commander";'],
    ["an undeclared package", "src/server/a.ts", 'import x from "left-pad";'],
    ["a package in the tools", "src/tools/a.ts", 'import { z } from "zod";'],
    ["an import of the library in a tool", "src/tools/a.ts", 'import { x } from "../index.ts";'],
    ["a built-in without the prefix node:", "src/base/a.ts", 'import { x } from "fs/promises";'],
    ["a read of process.env", "src/server/a.ts", "const x = process.env.HOME;"],
    ["a flag with a variable", "src/cli/a.ts", 'new Option("-x").env("X");'],
    ["a read of Bun.env", "src/server/a.ts", "const x = Bun.env.HOME;"],
    ["a write to process.stdout in a command", "src/cli/a.ts", 'process.stdout.write("x");'],
    ["a look at process.stderr in a command", "src/cli/a.ts", "const x = process.stderr.isTTY;"],
    ["a write to Bun.stdout in a command", "src/cli/a.ts", 'Bun.write(Bun.stdout, "x");'],
    ["the console in the library", "src/client/a.ts", 'console.warn("x");'],
    ["a write to a standard descriptor", "src/server/a.ts", 'writeSync(2, "x");'],
    ["an open of the terminal's device", "src/cli/a.ts", 'openSync("/dev/tty");'],
    ["printing without escaping in a command", "src/cli/a.ts", "printRaw(name);"],
    ["a folder that is not a known part", "src/utils/a.ts", 'import { x } from "node:fs";'],
  ];
  for (const [what, path, line] of broken) {
    test(what, () => expect(violations(new Map([[path, `${line}\n`]]))).toHaveLength(1));
  }
});

describe("the rule allows", () => {
  const sound: [what: string, path: string, text: string][] = [
    ["an import one level down", "src/server/a.ts", 'import { x } from "../tls/listener.ts";'],
    ["the index in a command", "src/cli/a.ts", 'import { x } from "../index.ts";'],
    [
      "what both sides of a host share, on one of them",
      "src/host/child/a.ts",
      'import { x } from "../protocol.ts";',
    ],
    ["a file in the same folder", "src/tls/a.ts", 'import { x } from "./duplex.ts";'],
    ["a built-in", "src/tools/a.ts", 'import { x } from "node:fs";\nimport { y } from "bun:ffi";'],
    ["a declared package", "src/protocol/a.ts", 'import { z } from "zod";'],
    ["the owner of a package", "src/base/sha256.ts", 'import { x } from "@noble/hashes/sha2.js";'],
    ["a method called require", "src/server/a.ts", 'access.require("sync");'],
    ["an import in a comment", "src/base/a.ts", '/**\n * import x from "../cli/ui.ts";\n */\nexport {};'],
    ["process.env in a comment", "src/base/a.ts", "// process.env is read elsewhere\nexport {};"],
  ];
  for (const [what, path, text] of sound) {
    test(what, () => expect(violations(new Map([[path, `${text}\n`]]))).toEqual([]));
  }
});
