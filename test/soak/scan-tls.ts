import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

/**
 * Scans a running server with `sslscan` and `testssl.sh`, where they are installed (Debian packages of those
 * names): `bun run scan:tls`. Exits with 1 unless TLS 1.3 is all there is and nothing weak was found.
 */
const sslscan = Bun.which("sslscan");
const testssl = Bun.which("testssl") ?? Bun.which("testssl.sh");
if (sslscan === null && testssl === null) {
  console.error("Neither sslscan nor testssl.sh is installed; on Debian: apt-get install sslscan testssl.sh");
  process.exit(1);
}

const failures: string[] = [];
await using site = await Site.create();
await using server = await site.start([
  // Both tools connect many times in a row, and hold some connections open.
  ...["--handshake-rate", "10000", "--handshake-burst", "10000", "--handshake-timeout", "10s"],
]);
const address = `127.0.0.1:${site.port}`;

if (sslscan !== null) {
  // Its own test for Heartbleed stops at a server that knows TLS 1.3 alone; the other tool has one too.
  const { stdout } = await run([sslscan, "--no-colour", "--no-heartbleed", address], { deadlineMs: 120_000 });
  print("sslscan", stdout, /^(SSLv|TLSv|Session renegotiation|Preferred|Accepted|Signature Algorithm)/);
  for (const version of ["SSLv2", "SSLv3", "TLSv1\\.0", "TLSv1\\.1", "TLSv1\\.2"]) {
    mustHave("sslscan", stdout, `^${version}\\s+disabled`);
  }
  mustHave("sslscan", stdout, "^TLSv1\\.3\\s+enabled");
  mustHave("sslscan", stdout, "^Session renegotiation not supported");
  mustHave("sslscan", stdout, "^Preferred\\s+TLSv1\\.3");
  mustNotHave("sslscan", stdout, "^(Preferred|Accepted)\\s+(?!\\s|TLSv1\\.3).*");
}

if (testssl !== null) {
  const tests = ["--protocols", "--fs", "--server-defaults", "--vulnerable"];
  const { stdout } = await run([testssl, "--quiet", "--color", "0", "--warnings", "off", ...tests, address], {
    deadlineMs: 300_000,
  });
  print("testssl.sh", stdout, /offered|vulnerable|Tickets|TLS_/i);
  for (const version of ["SSLv2", "SSLv3", "TLS 1", "TLS 1\\.1", "TLS 1\\.2"]) {
    mustHave("testssl.sh", stdout, `^ ${version}\\s+not offered`);
  }
  mustHave("testssl.sh", stdout, "^ TLS 1\\.3\\s+offered \\(OK\\)");
  mustHave("testssl.sh", stdout, "^ Session Resumption\\s+Tickets no, ID: no");
  mustHave("testssl.sh", stdout, "^ Heartbleed .*not vulnerable \\(OK\\)");
  mustNotHave("testssl.sh", stdout, "^.*(?:VULNERABLE|NOT ok).*");
}

if (server.process.exitCode !== null)
  failures.push(`the server has ended with code ${server.process.exitCode}`);
for (const failure of failures) console.error(`FAILED ${failure}`);
const used = [sslscan === null ? [] : ["sslscan"], testssl === null ? [] : ["testssl.sh"]]
  .flat()
  .join(" and ");
console.log(
  `scan:tls: ${used}: ${failures.length === 0 ? "TLS 1.3 only, nothing weak found" : `${failures.length} failures`}`,
);
await server[Symbol.asyncDispose]();
await site[Symbol.asyncDispose]();
process.exit(failures.length === 0 ? 0 : 1);

function mustHave(tool: string, output: string, pattern: string): void {
  if (!new RegExp(pattern, "m").test(output)) failures.push(`${tool} has no line like ${pattern}`);
}

function mustNotHave(tool: string, output: string, pattern: string): void {
  const found = new RegExp(pattern, "m").exec(output);
  if (found !== null) failures.push(`${tool}: ${found[0].trim()}`);
}

/** The lines that matter of a long output. */
function print(tool: string, output: string, wanted: RegExp): void {
  const lines = output.split("\n").filter((line) => wanted.test(line));
  console.log([`--- ${tool}`, ...lines, ""].join("\n"));
}
