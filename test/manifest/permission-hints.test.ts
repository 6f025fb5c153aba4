import { expect, test } from "bun:test";
import { undeclaredHints } from "../../src/manifest/permission-hints.ts";
import type { DeclaredPermissions } from "../../src/manifest/permissions.ts";

const hintsOf = (content: string, declared: DeclaredPermissions = {}) =>
  undeclaredHints([{ path: "m.ts", content }], declared);

const cases: [source: string, kinds: string, declared: DeclaredPermissions][] = [
  ['import { readFile } from "node:fs/promises";', "'read' or 'write'", { read: ["/srv"] }],
  ['import * as fs from "fs";', "'read' or 'write'", { write: ["/srv"] }],
  ['import { execFile } from "node:child_process";', "'run'", { run: ["git"] }],
  ['import { connect } from "node:net";', "'connect' or 'listen'", { listen: [80] }],
  ['import { connect } from "node:tls";', "'connect' or 'listen'", { connect: [80] }],
  ['const http = require("http");', "'connect' or 'listen'", { connect: [80] }],
  ['const https = await import("node:https");', "'connect' or 'listen'", { connect: [443] }],
  ['import "node:dgram";', "'connect'", { connect: [53] }],
  ['import { dlopen } from "bun:ffi";', '"all"', "all"],
  ['await fetch("https://example.org");', "'connect'", { connect: [443] }],
  ['Bun.spawn(["ls"]);', "'run'", { run: ["ls"] }],
  ['import { $ } from "bun";', "'run'", { run: ["ls"] }],
  ['import { spawnSync, type Subprocess } from "bun";', "'run'", { run: ["ls"] }],
  ['Bun.file("/etc/passwd");', "'read' or 'write'", { read: ["/etc"] }],
  ["Bun.listen({});", "'listen'", { listen: [80] }],
];

test.each(cases)("%s hints at %s", (source, kinds, declared) => {
  const [hint = "", ...more] = hintsOf(source);
  expect(more).toEqual([]);
  expect(hint).toStartWith("m.ts ");
  expect(hint).toContain(kinds);
  expect(hintsOf(source, declared)).toEqual([]);
  expect(hintsOf(source, "all")).toEqual([]);
});

test.each([
  'import type { Stats } from "node:fs";',
  'import { statfs, type Stats, existsSync as there } from "node:fs";',
  'import { join } from "node:path";',
  "cache.fetch(1); const prefetch = () => prefetch();",
  'const words = "Bunny.spawn";',
])("%s hints at nothing", (source) => expect(hintsOf(source)).toEqual([]));

test("a hint names the file that it was found in, and a JSON file gives none", () => {
  const texts = [
    { path: "m.ts", content: "export {};" },
    { path: "lib/net.ts", content: 'import "node:net";' },
    { path: "lib/words.json", content: '"fetch("' },
  ];
  expect(undeclaredHints(texts, {})).toEqual([
    "lib/net.ts imports node:net, but the module's permissions have no 'connect' or 'listen'.",
  ]);
});

test("one harmless import of node:fs does not excuse another", () => {
  expect(hintsOf('import { stat } from "node:fs"; import { rm } from "node:fs";')).toHaveLength(1);
  expect(hintsOf('import { stat } from "node:fs"; const fs = require("fs");')).toHaveLength(1);
});
