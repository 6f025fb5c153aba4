import { VeripyError } from "../base/errors.ts";
import { isSha256Hex, type Sha256Hex } from "../base/sha256.ts";
import { byPath } from "../protocol/tree.ts";

/** A server that a catalogue is for. */
export interface CatalogueServer {
  /** The SHA-256 of its public key. */
  readonly fingerprint: string;
  /** `host:port`. */
  readonly address: string;
}

/** Everything that the servers of one name serve. */
export interface Catalogue {
  readonly name: string;
  readonly serial: number;
  /** In UTC, in whole seconds: `2026-11-24T10:00:00Z`. */
  readonly issued: string;
  readonly expires: string | undefined;
  /** Empty: every server may use it. */
  readonly servers: readonly CatalogueServer[];
  /** `mods/…` and `trusted-keys.json`, with the SHA-256 of each. */
  readonly files: ReadonlyMap<string, Sha256Hex>;
}

export const trustFilePath = "trusted-keys.json";
export const modsPrefix = "mods/";
/** More than any server loads. */
export const maxCatalogueFiles = 50_000;
export const maxCatalogueBytes = 8 * 1024 * 1024;
const maxServers = 10_000;
const maxPathLength = 1_024;
const firstLine = "# veripy catalogue 1";

/**
 * Parses a catalogue: a `sha256sum` listing after a header, as docs/catalogues.md describes it. Throws `bad_config`, with
 * the line, for every deviation: what was signed has one meaning only.
 */
export function parseCatalogue(text: string, file = "veripy.catalogue"): Catalogue {
  const fail = (line: number, why: string): never => {
    throw new VeripyError("bad_config", `${file}: line ${line}: ${why}.`);
  };
  if (text.length > maxCatalogueBytes) fail(1, `the file has more than ${maxCatalogueBytes} bytes`);
  const lines = text.split("\n");
  if (lines.pop() !== "") fail(lines.length + 1, "the last line must end with a line break");
  const header = new Map<string, string>();
  const servers: CatalogueServer[] = [];
  const files = new Map<string, Sha256Hex>();
  for (const [index, line] of lines.entries()) {
    const at = index + 1;
    if (line.endsWith("\r")) fail(at, "it ends with CR LF; lines must end with LF alone");
    if (index === 0) {
      if (line !== firstLine) fail(at, otherFirstLine(line));
    } else if (line.startsWith("#")) {
      if (files.size > 0) fail(at, "a header stands below a file");
      const [, field = "", value = ""] = /^# ([a-z]+) (\S.*)$/.exec(line) ?? [];
      if (field === "server") {
        if (servers.length === maxServers) fail(at, `there are more than ${maxServers} servers`);
        servers.push(parseServer(value, servers) ?? fail(at, serverForm(value)));
      } else {
        if (!(field in fieldForms))
          fail(at, `'${line.slice(0, 40)}' is no header; the headers are ${headerNames}`);
        if (header.has(field)) fail(at, `'${field}' stands there twice`);
        const order = Object.keys(fieldForms);
        if (
          [...header.keys()].some((earlier) => order.indexOf(earlier) > order.indexOf(field)) ||
          servers.length > 0
        )
          fail(at, `'${field}' stands too late; the order is ${headerNames}`);
        if (!isField(field, value)) fail(at, `'${field}' must be ${fieldForms[field]}`);
        header.set(field, value);
      }
    } else {
      if (files.size === maxCatalogueFiles) fail(at, `there are more than ${maxCatalogueFiles} files`);
      const [path, sum] = parseFile(line) ?? fail(at, fileForm);
      const problem = pathProblem(path);
      if (problem !== undefined) fail(at, problem);
      if (files.has(path)) fail(at, `${path} is listed twice`);
      files.set(path, sum);
    }
  }
  if (lines.length === 0) fail(1, otherFirstLine(""));
  const required = (field: string) => header.get(field) ?? fail(lines.length, `there is no '# ${field}'`);
  return {
    name: required("name"),
    serial: Number(required("serial")),
    issued: required("issued"),
    expires: header.get("expires"),
    servers,
    files,
  };
}

/** The text of a catalogue, with its files sorted by the bytes of their paths. */
export function formatCatalogue({ name, serial, issued, expires, servers, files }: Catalogue): string {
  const listed = [...files].map(([path, sum]) => ({ path, sum })).sort(byPath);
  const lines = [
    firstLine,
    `# name ${name}`,
    `# serial ${serial}`,
    `# issued ${issued}`,
    ...(expires === undefined ? [] : [`# expires ${expires}`]),
    ...servers.map(({ fingerprint, address }) => `# server ${fingerprint} ${address}`),
    ...listed.map(({ path, sum }) => `${sum}  ${path}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** Whether it can be the name of a catalogue, which is also that of a fleet. */
export function isCatalogueName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name);
}

/** What each header but `server` must be, in their order. */
const fieldForms: Record<string, string> = {
  name: "a name of at most 63 letters, digits, '.', '_' and '-', which begins with a letter or a digit",
  serial: "a whole number from 1 to 9007199254740991, without leading zeros",
  issued: "a time in UTC, such as 2026-11-24T10:00:00Z",
  expires: "a time in UTC, such as 2027-11-24T10:00:00Z",
};
const headerNames = `${Object.keys(fieldForms).join(", ")}, server`;
const fileForm =
  "it must be a SHA-256 in 64 lowercase digits, two spaces and a path, as 'sha256sum' prints it";

function isField(field: string, value: string): boolean {
  if (field === "name") return isCatalogueName(value);
  if (field === "serial") return /^[1-9]\d{0,15}$/.test(value) && Number.isSafeInteger(Number(value));
  return isTime(value);
}

function isTime(value: string): boolean {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value)) return false;
  const time = new Date(value);
  // 30 February is parsed as 2 March.
  return !Number.isNaN(time.getTime()) && time.toISOString() === value.replace("Z", ".000Z");
}

function parseServer(value: string, earlier: readonly CatalogueServer[]): CatalogueServer | undefined {
  const [, fingerprint = "", address = ""] = /^([0-9a-f]{64}) (\S{1,300})$/.exec(value) ?? [];
  if (!/^(\[[0-9A-Fa-f:.]+\]|[^\s:[\]]+):\d{1,5}$/.test(address) || !isPort(address)) return undefined;
  return earlier.some((one) => one.fingerprint === fingerprint) ? undefined : { fingerprint, address };
}

function isPort(address: string): boolean {
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  return port >= 1 && port <= 65_535;
}

function serverForm(value: string): string {
  const isForm = /^[0-9a-f]{64} \S+:\d+$/.test(value);
  return isForm
    ? "this server stands there twice, or its port is out of range"
    : "a server must be its fingerprint, a space, and host:port";
}

function parseFile(line: string): [path: string, sum: Sha256Hex] | undefined {
  const [sum, path] = [line.slice(0, 64), line.slice(66)];
  return isSha256Hex(sum) && line.slice(64, 66) === "  " && path !== "" ? [path, sum] : undefined;
}

/** Why a path can't be in a catalogue; undefined when it can. */
export function pathProblem(path: string): string | undefined {
  if (path.length > maxPathLength) return `a path has more than ${maxPathLength} characters`;
  if (/[\u0000-\u001f\u007f\\]/.test(path))
    return "a path must not contain control characters or backslashes";
  if (path === trustFilePath) return undefined;
  const steps = path.split("/");
  if (steps.some((step) => step === "" || step === "." || step === ".."))
    return `'${path}' is no plain path: it must not be absolute or contain '.', '..' or empty parts`;
  return path.startsWith(modsPrefix)
    ? undefined
    : `'${path}' is neither below ${modsPrefix} nor ${trustFilePath}`;
}

function otherFirstLine(line: string): string {
  const [, version] = /^# veripy catalogue (\d+)$/.exec(line) ?? [];
  if (version === undefined) return `this is no catalogue: it must begin with '${firstLine}'`;
  return `it is a catalogue of version ${version}; this program reads version 1`;
}
