import { scanFile } from "./manifest.ts";
import { type DeclaredPermissions, type Permissions, permissionKinds } from "./permissions.ts";

/** Any one of these permissions explains what was found; with none listed, only "all" does. */
type Needs = readonly (keyof Permissions)[];

const files: Needs = ["read", "write"];
const network: Needs = ["connect", "listen"];

const neededByImport: Readonly<Record<string, Needs>> = {
  "node:fs": files,
  "node:fs/promises": files,
  "node:sqlite": files,
  "bun:sqlite": files,
  "node:child_process": ["run"],
  "node:cluster": ["run"],
  "node:net": network,
  "node:tls": network,
  "node:http": network,
  "node:https": network,
  "node:http2": network,
  "node:dgram": ["connect"],
  "node:dns": ["connect"],
  "node:dns/promises": ["connect"],
  "bun:ffi": [],
};

/** What the runtime offers without an import, or by one from "bun". */
const neededByUse: readonly { readonly what: string; readonly pattern: RegExp; readonly needs: Needs }[] = [
  { what: "Bun.file", pattern: ofBun("file"), needs: files },
  { what: "Bun.write", pattern: ofBun("write"), needs: ["write"] },
  { what: "Bun.spawn", pattern: ofBun("spawn|spawnSync"), needs: ["run"] },
  { what: "Bun.$", pattern: ofBun("\\$"), needs: ["run"] },
  { what: "Bun.connect", pattern: ofBun("connect"), needs: ["connect"] },
  { what: "Bun.listen", pattern: ofBun("listen"), needs: ["listen"] },
  { what: "Bun.serve", pattern: ofBun("serve"), needs: ["listen"] },
  { what: "fetch", pattern: /(?<![\w$.#])fetch\s*\(/, needs: ["connect"] },
  { what: "WebSocket", pattern: /\bnew\s+WebSocket\s*\(/, needs: ["connect"] },
];

function ofBun(names: string): RegExp {
  const end = "(?![\\w$])";
  return new RegExp(
    `\\bBun\\s*\\.\\s*(?:${names})${end}|\\bimport\\s*\\{[^}]*(?<![\\w$])(?:${names})${end}[^}]*\\}\\s*from\\s*["']bun["']`,
  );
}

/**
 * What the files of a module hint that it needs and does not declare: a sentence each, which begins with the file's path.
 * Only a guess, for a warning: a comment can cause one, and a detour hides a need. Throws `bad_module` as `scanFile` does.
 */
export function undeclaredHints(
  texts: Iterable<{ readonly path: string; readonly content: string }>,
  declared: DeclaredPermissions,
): string[] {
  if (declared === "all") return [];
  const isMissing = (needs: Needs) => !needs.some((kind) => (declared[kind]?.length ?? 0) > 0);
  return [...texts].flatMap(({ path, content }) => {
    const imports = scanFile(path, content)
      .builtins.filter((name) => !onlyAsksAboutFiles(name, content))
      .map((name) => ({ what: `imports ${name}`, needs: neededByImport[name] }));
    const uses = path.endsWith(".json")
      ? []
      : neededByUse
          .filter(({ pattern }) => pattern.test(content))
          .map(({ what, needs }) => ({ what: `uses ${what}`, needs }));
    return [...imports, ...uses].flatMap(({ what, needs }) =>
      needs !== undefined && isMissing(needs) ? `${path} ${what}, but ${lacking(needs)}.` : [],
    );
  });
}

function lacking(needs: Needs): string {
  if (needs.length === 0) return `the module does not declare permissions = "all"`;
  const kinds = permissionKinds.filter((kind) => needs.includes(kind)).map((kind) => `'${kind}'`);
  return `the module's permissions have no ${kinds.join(" or ")}`;
}

/** What `node:fs` offers that needs no permission: it neither reads a file's content nor changes anything. */
const asksAboutFiles = /^(exists|[fl]?stat|statfs|access|realpath)(Sync)?$/;

/** Whether every import of this built-in is a list of names that need no permission. */
function onlyAsksAboutFiles(builtin: string, content: string): boolean {
  if (builtin !== "node:fs" && builtin !== "node:fs/promises") return false;
  const name = builtin.slice("node:".length);
  const lists = [
    ...content.matchAll(new RegExp(`\\bimport\\s*\\{([^}]*)\\}\\s*from\\s*["'](?:node:)?${name}["']`, "g")),
  ];
  const all = content.match(new RegExp(`["'\`](?:node:)?${name}["'\`]`, "g")) ?? [];
  const names = lists.flatMap(([, list = ""]) => list.split(",").map((each) => each.trim()));
  return (
    all.length === lists.length &&
    names.every(
      (each) => each === "" || each.startsWith("type ") || asksAboutFiles.test(each.split(/\s/)[0] ?? ""),
    )
  );
}
