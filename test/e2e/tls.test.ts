import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { dial } from "../helpers/frames.ts";
import { Running, run } from "../helpers/processes.ts";
import { servedSite } from "../helpers/site.ts";
import { openssl } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const { site, server } = await servedSite();

test("a client without a certificate is closed before a byte is parsed, and the log says why", async () => {
  using bare = await dial(site.port);
  bare.send("mod:sync:1 {}\n");
  await within(2_000, "the connection to be closed", bare.closed);
  expect(bare.lines).toEqual([]);
  await server.line("no_certificate");
});

describe.skipIf(openssl === undefined)("with the openssl command", () => {
  const keyOf = (certs: string) => ["-key", join(certs, "client.key"), "-cert", join(certs, "client.crt")];

  /** `openssl s_client` that sends one request and stays until the server, or the test, ends it. */
  function ask(port: number, ...flags: string[]): Running {
    const client = new Running([openssl ?? "", "s_client", "-connect", `127.0.0.1:${port}`, ...flags], {
      stdin: "pipe",
    });
    client.write("mod:sync:1 {}\n");
    return client;
  }
  const answer = "mod:sync_resp:1 ";

  /** All that it printed, when the server has closed. */
  async function outcome(client: Running): Promise<{ exitCode: number; output: string }> {
    const exitCode = await client.ended();
    return { exitCode, output: [...client.stdout, ...client.stderr].join("\n") };
  }

  test("a trusted key over TLS 1.3 gets an answer, and no session ticket", async () => {
    await using client = ask(site.port, "-tls1_3", ...keyOf(site.certs));
    await client.line(answer);
    // A ticket would have come before the first answer; openssl tells of it at the end.
    client.endInput();
    const { output } = await outcome(client);
    expect(output).toContain("New, TLSv1.3");
    expect(output).not.toContain("New Session Ticket arrived");
  });

  test("the previous test would notice a session ticket", async () => {
    await using other = opensslServer(site.certs, ["-tls1_3"]);
    await using client = ask(await portOf(other), "-tls1_3");
    await other.line("mod:sync:1");
    other.write(`${answer}{}\n`);
    await client.line(answer);
    client.endInput();
    expect((await outcome(client)).output).toContain("New Session Ticket arrived");
  });

  test("without a certificate there is no answer", async () => {
    await using client = ask(site.port, "-tls1_3");
    expect((await outcome(client)).output).not.toContain(answer);
  });

  test("another key gets no answer", async () => {
    const { certs } = await site.newClient("other");
    await using client = ask(site.port, "-tls1_3", ...keyOf(certs));
    expect((await outcome(client)).output).not.toContain(answer);
  });

  test.each(["-tls1_2", "-tls1_1"])("a trusted key with %s fails in the handshake", async (flag) => {
    await using client = ask(site.port, flag, ...keyOf(site.certs));
    const { exitCode, output } = await outcome(client);
    expect(exitCode).not.toBe(0);
    expect(output).not.toContain(answer);
    expect(output).toMatch(/alert protocol version|no protocols available/);
  });

  /** What a server sees of a client that connects to it. */
  function opensslServer(certs: string, flags: string[]): Running {
    const own = ["-key", join(certs, "server.key"), "-cert", join(certs, "server.crt")];
    // At the end of its input it would leave.
    return new Running(
      [openssl ?? "", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", ...own, ...flags],
      { stdin: "pipe" },
    );
  }

  async function portOf(of: Running): Promise<number> {
    return Number(/ACCEPT .*:(\d+)/.exec(await of.line("ACCEPT"))?.[1]);
  }

  const clientCertificate = /<<< TLS 1\.3, Handshake \[length [0-9a-f]+\], Certificate$/;

  test("an unknown server does not see the client's certificate", async () => {
    const certs = join(site.path, "impostor");
    await run([site.server, "init", "--certs", certs, "--trusted-keys", join(certs, "none.json")], {
      cwd: site.path,
    });
    await using impostor = opensslServer(certs, ["-Verify", "1", "-msg", "-tls1_3"]);
    const port = await portOf(impostor);
    const { exitCode, stderr } = await site.call(["--port", String(port), "list"]);
    const { fingerprint } = JSON.parse(
      (await site.manage(["fingerprint", "--certs", certs, "--json"])).stdout,
    ) as { fingerprint: string };
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`it has the key ${fingerprint}, which is not the expected one`);
    await impostor.ended();
    // It asked for the certificate, and got as far as waiting for it.
    expect(impostor.stdout.join("\n")).toContain("CertificateRequest");
    expect(impostor.stdout.filter((line) => clientCertificate.test(line))).toEqual([]);
    expect(impostor.stdout.join("\n")).not.toContain("mod:sync");
  });

  test("the known server sees the client's certificate and its first request", async () => {
    await using genuine = opensslServer(site.certs, ["-Verify", "1", "-msg", "-tls1_3"]);
    const client = site.watch(["--port", String(await portOf(genuine)), "list"]);
    await genuine.line(clientCertificate);
    await eventually("the request", () => genuine.stdout.join("\n").includes("mod:sync"));
    await client[Symbol.asyncDispose]();
  });

  test("a server without TLS 1.3 is refused", async () => {
    await using old = opensslServer(site.certs, ["-tls1_2"]);
    const { exitCode, stderr } = await site.call(["--port", String(await portOf(old)), "list"]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("TLS 1.3");
  });
});

describe("when a client decides which server to accept", () => {
  const fingerprint = async () => (await site.manage(["fingerprint"])).stdout.trim();

  test("without a terminal or an expected key it accepts none, and prints the key it saw", async () => {
    const { certs } = await site.newClient("unpinned");
    await rm(join(certs, "server.crt"));
    const { exitCode, stderr, stdout } = await site.call(["--certs", certs, "list"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
    expect(stderr).toContain(await fingerprint());
    expect(stderr).toContain("--server-fingerprint");
  });

  test("it accepts the key of --server-fingerprint, and no other", async () => {
    const { certs, fingerprint: own } = await site.newClient("by-flag");
    await site.admit({ certs, fingerprint: own });
    await rm(join(certs, "server.crt"));
    const flags = ["--certs", certs, "list", "--server-fingerprint"];
    expect((await site.call([...flags, await fingerprint()])).exitCode).toBe(0);
    const wrong = await site.call([...flags, "ab".repeat(32)]);
    expect(wrong.exitCode).toBe(3);
    expect(wrong.stderr).toContain("not the expected one");
  });

  test("it accepts the key that known-servers.json has for the host and port, and no other", async () => {
    const { certs, fingerprint: own } = await site.newClient("by-file");
    await rm(join(certs, "server.crt"));
    const keep = (key: string) =>
      Bun.write(join(certs, "known-servers.json"), JSON.stringify({ [`localhost:${site.port}`]: key }));
    await keep(await fingerprint());
    await site.admit({ certs, fingerprint: own });
    await keep("cd".repeat(32));
    const wrong = await site.call(["--certs", certs, "list"]);
    expect(wrong.exitCode).toBe(3);
    expect(wrong.stderr).toContain("not the expected one");
  });

  test("a flag that contradicts server.crt is a usage error", async () => {
    const { exitCode, stderr } = await site.call(["list", "--server-fingerprint", "ab".repeat(32)]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("server.crt");
    expect(stderr).toContain("ab".repeat(32));
  });
});
