import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, posix } from "node:path";

/** What each part may import of the others; its own folder is always allowed. */
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
  client: ["manifest", "tls", "trust", "identity", "protocol", "base"],
  server: ["modules", "host", "source", "manifest", "tls", "trust", "identity", "protocol", "base"],
  index: ["server", "client", "modules", "host", "tls", "trust", "identity", "protocol", "base"],
  cli: ["index"],
  tools: [],
};

/** Inner rooms that must not import each other: the two ends of a module host's socket. */
const walls: readonly (readonly [string, string])[] = [["src/host/parent/", "src/host/child/"]];

/** Packages that belong to one place. Everything else of package.json's dependencies is free to all but tools. */
const packageOwners: Record<string, string> = {
  "@noble/hashes": "src/base/sha256.ts",
  acorn: "src/manifest/parse-source.ts",
  "@sveltejs/acorn-typescript": "src/manifest/parse-source.ts",
  commander: "src/cli/",
};

/** Imports that cross the rule, each with its reason. */
const importExceptions: Record<string, string> = {
  "src/cli/server.ts → src/host/child/main.ts":
    "a module host starts in milliseconds only if nothing else of the library is loaded",
  "src/server/init.ts → mods/hello.ts": "'init' writes the module that is shipped, as text",
};

/** Who reads the environment, by `process.env` or by commander's `.env(…)`, each with its reason. */
const environmentReaders: Record<string, string> = {
  "src/cli/options.ts": "the variables that stand for a flag",
  "src/cli/environment.ts": "the other variables of the two commands",
  "src/tools/demo.ts": "stays up for play on a terminal, but not where CI says that nobody is there",
  "src/host/parent/command.ts": "builds the small environment that a module host gets",
};

/** What touches a standard stream or the console, each with its reason. The tools show nothing but their own. */
const outputWriters: Record<string, string> = {
  "src/cli/ui.ts": "the one door of the commands, which escapes what passes",
  "src/host/child/main.ts": "a module's process: its standard error is a pipe to the server, which logs it",
  "src/host/transport.ts":
    "a module's process: its standard streams are the control channel where sockets are not",
  "src/host/child/console.ts": "a module's process: takes `console` over",
};

const root = dirname(import.meta.dir);
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  dependencies: Record<string, string>;
};

/** One sentence for each rule that a file of the set (path below the root → text) breaks. */
function violations(files: ReadonlyMap<string, string>): string[] {
  if (files.size === 0) throw new Error("Cannot check the import rule: there are no files.");
  return [...files].flatMap(([path, text]) => {
    const code = withoutComments(text);
    const found = importsOf(code).flatMap((specifier) => importViolation(path, specifier) ?? []);
    // Why: src/identity/x509.ts. A built-in is no matter of the bundler's, nor is a type.
    for (const [, name] of code.matchAll(/(?<!typeof )import\(\s*["']((?!node:|bun:|\.)[^"']+)["']/g)) {
      found.push(`${path} imports the package '${name}' on demand`);
    }
    if (readsEnvironment(code) && !(path in environmentReaders)) {
      found.push(`${path} reads the environment`);
    }
    if (touchesOutput(code) && !(path in outputWriters) && partOf(path) !== "tools") {
      found.push(`${path} touches a standard stream or the console`);
    }
    // Only what a person asked for with `--raw` passes the door unescaped.
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
  if (allowed === undefined) return `${path} is in no known part of src/`;

  if (specifier.startsWith(".")) {
    const target = posix.normalize(posix.join(posix.dirname(path), specifier));
    if (`${path} → ${target}` in importExceptions) return undefined;
    if (!target.startsWith("src/")) return `${path} imports ${target}, outside of src/`;
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
  if (builtinModules.includes(name)) return `${path} imports '${specifier}' without its prefix node:`;
  if (part === "tools") return `${path} imports the package '${name}'`;
  if (!(name in dependencies)) return `${path} imports '${name}', no dependency of package.json`;
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

/** Static imports and re-exports, of types too, and literal `import()`. */
function importsOf(code: string): string[] {
  const patterns = [
    /^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
    /^import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /\brequire\(\s*["']([^"']+)["']/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** Good enough for formatted code: block comments that begin a line, and whole-line or trailing `//`. */
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

test("imports point down only, and every rule about packages and the environment holds", () => {
  expect(violations(sourceFiles())).toEqual([]);
});

/** Groups of files that import each other in a circle, types included. */
function circles(files: ReadonlyMap<string, string>): string[][] {
  const imports = new Map(
    [...files].map(([path, text]) => [
      path,
      importsOf(withoutComments(text))
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => posix.normalize(posix.join(posix.dirname(path), specifier))),
    ]),
  );
  // What is left when every file that imports nothing more, or that nothing more imports, has been taken away.
  for (let size = -1; size !== imports.size; ) {
    size = imports.size;
    const imported = new Set([...imports.values()].flat());
    for (const [path, targets] of imports) {
      if (!imported.has(path) || !targets.some((target) => imports.has(target))) imports.delete(path);
    }
  }
  return imports.size === 0 ? [] : [[...imports.keys()].sort()];
}

test("no file imports itself by way of others", () => {
  expect(circles(sourceFiles())).toEqual([]);
});

test("a circle of imports is found, of types too, and what leads into and out of it is not named", () => {
  const files = new Map([
    ["src/base/a.ts", 'import type { B } from "./b.ts";'],
    ["src/base/b.ts", 'import { c } from "./c.ts";'],
    ["src/base/c.ts", 'import { a } from "./a.ts";\nimport { d } from "./d.ts";'],
    ["src/base/d.ts", "export const d = 1;"],
    ["src/base/e.ts", 'import { a } from "./a.ts";'],
  ]);
  expect(circles(files)).toEqual([["src/base/a.ts", "src/base/b.ts", "src/base/c.ts"]]);
});

test("every part that the rule names is there to be checked", () => {
  const parts = new Set([...sourceFiles().keys()].map(partOf));
  expect([...parts].sort()).toEqual(Object.keys(mayImport).sort());
});

test("no exception outlives its use", () => {
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

test("nothing that writes to the terminal past the door outlives its reason", () => {
  const files = sourceFiles();
  for (const path of Object.keys(outputWriters)) {
    const touches = touchesOutput(withoutComments(files.get(path) ?? ""));
    expect({ path, touches }).toEqual({ path, touches: true });
  }
});

test("a check of no files fails instead of passing", () => {
  expect(() => violations(new Map())).toThrow("there are no files");
});

describe("the rule refuses", () => {
  const broken: [what: string, path: string, line: string][] = [
    ["base that imports the protocol", "src/base/a.ts", 'import { x } from "../protocol/frame.ts";'],
    ["a type from above", "src/protocol/a.ts", 'import type { X } from "../server/session.ts";'],
    ["identity that imports the protocol", "src/identity/a.ts", 'import { x } from "../protocol/frame.ts";'],
    ["protocol that imports identity", "src/protocol/a.ts", 'import { x } from "../identity/identity.ts";'],
    ["modules that import tls", "src/modules/a.ts", 'import { x } from "../tls/duplex.ts";'],
    ["a host that imports the registry", "src/host/a.ts", 'import { x } from "../modules/registry.ts";'],
    ["a source that imports a host", "src/source/a.ts", 'import { x } from "../host/protocol.ts";'],
    ["the manifest that reads files", "src/manifest/a.ts", 'import { x } from "../source/read-source.ts";'],
    ["a client that runs modules", "src/client/a.ts", 'import { x } from "../host/child/main.ts";'],
    ["a client that reads modules", "src/client/a.ts", 'import { x } from "../source/read-source.ts";'],
    ["trust that imports tls", "src/trust/a.ts", 'import { x } from "../tls/peer.ts";'],
    ["the server's side of a host", "src/host/parent/a.ts", 'import { x } from "../child/main.ts";'],
    ["the module's side of a host", "src/host/child/a.ts", 'import type { X } from "../parent/process.ts";'],
    ["tls that imports modules", "src/tls/a.ts", 'import { x } from "../modules/registry.ts";'],
    ["the server that imports the client", "src/server/a.ts", 'import { x } from "../client/client.ts";'],
    ["the client that imports the server", "src/client/a.ts", 'export * from "../server/server.ts";'],
    ["a part that imports the library's index", "src/server/a.ts", 'import { x } from "../index.ts";'],
    ["a command that reaches past the index", "src/cli/a.ts", 'import { x } from "../tls/connector.ts";'],
    ["an index that imports the commands", "src/index.ts", 'export { x } from "./cli/ui.ts";'],
    ["an import on several lines", "src/base/a.ts", 'import {\n  x,\n} from "../tls/duplex.ts";'],
    ["an import for its effect", "src/base/a.ts", 'import "../tls/duplex.ts";'],
    ["a package on demand", "src/server/a.ts", 'const x = await import("zod");'],
    ["a dynamic import", "src/base/a.ts", 'const x = await import("../tls/duplex.ts");'],
    ["an import from outside of src", "src/base/a.ts", 'import x from "../../package.json";'],
    ["a second user of @noble/hashes", "src/tls/a.ts", 'import { x } from "@noble/hashes/sha2.js";'],
    ["commander outside of the commands", "src/server/a.ts", 'import { Command } from "commander";'],
    ["a package nobody declared", "src/server/a.ts", 'import x from "left-pad";'],
    ["a package in the tools", "src/tools/a.ts", 'import { z } from "zod";'],
    ["a tool that imports the library", "src/tools/a.ts", 'import { x } from "../index.ts";'],
    ["a built-in without its prefix", "src/base/a.ts", 'import { x } from "fs/promises";'],
    ["a read of the environment", "src/server/a.ts", "const x = process.env.HOME;"],
    ["a flag that reads the environment", "src/cli/a.ts", 'new Option("-x").env("X");'],
    ["a read of Bun's environment", "src/server/a.ts", "const x = Bun.env.HOME;"],
    ["a command that writes past the door", "src/cli/a.ts", 'process.stdout.write("x");'],
    ["a command that asks what standard error is", "src/cli/a.ts", "const x = process.stderr.isTTY;"],
    ["a command that writes by Bun", "src/cli/a.ts", 'Bun.write(Bun.stdout, "x");'],
    ["the library's use of the console", "src/client/a.ts", 'console.warn("x");'],
    ["a write to a descriptor", "src/server/a.ts", 'writeSync(2, "x");'],
    ["the terminal's own device", "src/cli/a.ts", 'openSync("/dev/tty");'],
    ["a command that prints without escaping", "src/cli/a.ts", "printRaw(name);"],
    ["a folder that nobody planned", "src/utils/a.ts", 'import { x } from "node:fs";'],
  ];
  for (const [what, path, line] of broken) {
    test(what, () => expect(violations(new Map([[path, `${line}\n`]]))).toHaveLength(1));
  }
});

describe("the rule allows", () => {
  const sound: [what: string, path: string, text: string][] = [
    ["a step down", "src/server/a.ts", 'import { x } from "../tls/listener.ts";'],
    ["several steps down", "src/cli/a.ts", 'import { x } from "../index.ts";'],
    ["both sides of a host to what they share", "src/host/child/a.ts", 'import { x } from "../protocol.ts";'],
    ["a file beside it", "src/tls/a.ts", 'import { x } from "./duplex.ts";'],
    ["a built-in", "src/tools/a.ts", 'import { x } from "node:fs";\nimport { y } from "bun:ffi";'],
    ["a declared package", "src/protocol/a.ts", 'import { z } from "zod";'],
    ["the owner of a package", "src/base/sha256.ts", 'import { x } from "@noble/hashes/sha2.js";'],
    ["an import in a comment", "src/base/a.ts", '/**\n * import x from "../cli/ui.ts";\n */\nexport {};'],
    ["process.env in a comment", "src/base/a.ts", "// process.env is read elsewhere\nexport {};"],
  ];
  for (const [what, path, text] of sound) {
    test(what, () => expect(violations(new Map([[path, `${text}\n`]]))).toEqual([]));
  }
});
