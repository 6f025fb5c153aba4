import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import { joinProtocol } from "../../src/protocol/messages.ts";
import { alpnList } from "../../src/tls/alpn.ts";
import { createCode, formatCode, parseCode } from "../../src/trust/invitation-code.ts";
import { newIdentity, type TrustEntry, trust } from "../helpers/keys.ts";
import { type Ended, Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Stranger } from "../helpers/stranger.ts";
import { python, pythonFixture } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let site: Site;
let server: Running;
let newcomers = 0;

beforeAll(async () => {
  site = await Site.create();
  server = await site.start(["--handshake-timeout", "1s"]);
});
afterAll(() => site[Symbol.asyncDispose]());

async function invite(...flags: string[]): Promise<{ code: string; expires: string }> {
  const { stdout, exitCode, stderr } = await site.manage(["invite", "--json", ...flags]);
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { code: string; expires: string };
}

/** A client's folder that does not exist yet. */
function newcomer(): string {
  newcomers += 1;
  return join(site.path, `newcomer-${newcomers}`);
}

function joinWith(code: string, certs: string, server = `localhost:${site.port}`): Promise<Ended> {
  return run([site.client, "join", server, code, "--certs", certs, "--json"]);
}

async function trusted(): Promise<string> {
  return Bun.file(join(site.path, "trusted-keys.json")).text();
}

const list = (certs: string) => site.call(["--certs", certs, "list"]);

/** Neither side has kept anything of the other. */
async function expectNothingKept(certs: string, trustedBefore: string): Promise<void> {
  expect(await trusted()).toBe(trustedBefore);
  expect(existsSync(join(certs, "known-servers.json"))).toBe(false);
  expect((await list(certs)).exitCode).toBe(3);
}

/** The same code with another secret: it counts against the same invitation. */
function wrongSecret(code: string): string {
  return formatCode({ id: parseCode(code).id, secret: createCode().secret });
}

describe("an invitation", () => {
  test("makes both sides trust each other, and the client needs nothing else", async () => {
    const { code } = await invite("--name", "alice");
    const certs = newcomer();
    const joined = await joinWith(code, certs);
    expect(joined.exitCode).toBe(0);
    const { client, server: key, name } = JSON.parse(joined.stdout) as Record<string, string>;
    expect(name).toBe("alice");
    expect(await trusted()).toContain(JSON.stringify({ fingerprint: client, name: "alice" }));
    const known = JSON.parse(await Bun.file(join(certs, "known-servers.json")).text()) as unknown;
    expect(known).toEqual({ [`localhost:${site.port}`]: key });
    expect((await site.manage(["fingerprint"])).stdout).toBe(`${key}\n`);
    // At once: the server goes by the new entry before it answers.
    expect(await list(certs)).toMatchObject({ exitCode: 0, stderr: "" });
    await server.line('"message":"Joined: alice');
  });

  test("is printed with the command to type, which works as printed", async () => {
    const { stdout } = await site.manage(["invite"]);
    const [code = "", , , command = ""] = stdout.split("\n");
    expect(command.trim()).toBe(`veripy-client join HOST ${code}`);
    const lower = command.trim().replace("HOST", "localhost").toLowerCase().split(" ").slice(1);
    const certs = newcomer();
    const joined = await site.call([...lower, "--certs", certs]);
    expect(joined).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await list(certs)).exitCode).toBe(0);
  });

  test("is good once", async () => {
    const { code } = await invite();
    expect((await joinWith(code, newcomer())).exitCode).toBe(0);
    const [second, before] = [newcomer(), await trusted()];
    const refused = await joinWith(code, second);
    expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([3, { code: "forbidden" }]);
    await expectNothingKept(second, before);
  });

  test("is good until it expires", async () => {
    const { code, expires } = await invite("--expires", "200ms");
    await eventually("the invitation to expire", () => Date.now() > Date.parse(expires));
    const [certs, before] = [newcomer(), await trusted()];
    const refused = await joinWith(code, certs);
    expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([3, { code: "forbidden" }]);
    await expectNothingKept(certs, before);
  });

  test("survives four wrong codes", async () => {
    const { code } = await invite();
    for (let attempt = 0; attempt < 4; attempt++) {
      expect((await joinWith(wrongSecret(code), newcomer())).exitCode).toBe(3);
    }
    expect((await joinWith(code, newcomer())).exitCode).toBe(0);
  });

  test("is revoked after the fifth wrong code, and then the right one is refused", async () => {
    const { code } = await invite();
    const before = await trusted();
    for (let attempt = 0; attempt < 5; attempt++) {
      expect((await joinWith(wrongSecret(code), newcomer())).exitCode).toBe(3);
    }
    await server.line("A wrong invitation code from");
    const certs = newcomer();
    expect((await joinWith(code, certs)).exitCode).toBe(3);
    await expectNothingKept(certs, before);
  });

  test("whose name another key has taken is refused with the reason, and is not spent", async () => {
    const [first, second] = [await invite("--name", "twin"), await invite("--name", "twin")];
    expect((await joinWith(first.code, newcomer())).exitCode).toBe(0);
    const [certs, before] = [newcomer(), await trusted()];
    const refused = await joinWith(second.code, certs);
    expect(refused.exitCode).toBe(3);
    expect(JSON.parse(refused.stdout)).toMatchObject({ code: "forbidden" });
    expect(refused.stdout).toMatch(/'twin'.*now belongs to another key.*The code was not spent/);
    await server.line("now belongs to another key on the server. The code was not spent.");
    await expectNothingKept(certs, before);

    // The code is good once the name is free.
    expect((await site.manage(["untrust", "twin"])).exitCode).toBe(0);
    const joined = await joinWith(second.code, certs);
    expect(JSON.parse(joined.stdout)).toMatchObject({ name: "twin", code_spent: true });
  });

  test("gives the new key its fields, and the server applies them", async () => {
    await site.write("other.ts", "export const execute = async () => 'other';");
    const flags = ["--modules", "hello.ts,b-*.ts", "--actions", "sync,verify,exec", "--from", "127.0.0.0/8"];
    const rest = ["--from", "::1", "--key-expires", "2100-01-31", "--max-connections", "2"];
    const { code } = await invite("--name", "narrow", ...flags, ...rest);
    const certs = newcomer();
    const { client } = JSON.parse((await joinWith(code, certs)).stdout) as { client: string };
    expect(
      (JSON.parse(await trusted()) as { trusted_fingerprints: unknown[] }).trusted_fingerprints,
    ).toContainEqual({
      fingerprint: client,
      name: "narrow",
      modules: ["hello.ts", "b-*.ts"],
      actions: ["sync", "verify", "exec"],
      from: ["127.0.0.0/8", "::1"],
      max_connections: 2,
      expires: "2100-01-31",
    });
    expect((await site.call(["--certs", certs, "exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect((await site.call(["--certs", certs, "exec", "other"])).exitCode).not.toBe(0);
    expect((await site.call(["exec", "other"])).stdout).toBe("other\n");
  });

  test.each([
    ["--from", "10.0.0.0/8", /does not allow the address 127.0.0.1/],
    ["--key-expires", "2020-01-01", /has expired \(2020-01-01\)/],
  ])("with %s %s, which would not let the client in, is refused and not spent", async (flag, value, why) => {
    const { code } = await invite(flag, value);
    const [certs, before] = [newcomer(), await trusted()];
    for (let attempt = 0; attempt < 2; attempt++) {
      const refused = await joinWith(code, certs);
      expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([3, { code: "forbidden" }]);
      expect(refused.stdout).toMatch(why);
    }
    await expectNothingKept(certs, before);
  });

  test.each([
    [["--actions", "sync,fly"], "actions[1]: must be 'sync', 'verify' or 'exec'"],
    [["--from", "10.0.0/8"], "not an address range"],
    [["--key-expires", "2027-02-30"], "expires: must be a date"],
    [["--modules", "a.ts,"], "modules[1]: must not be empty"],
  ])("with %p is not made", async (flags, why) => {
    const file = join(site.certs, "invitations.json");
    const before = await Bun.file(file).text();
    const refused = await site.manage(["invite", ...flags]);
    expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toContain(why);
    expect(await Bun.file(file).text()).toBe(before);
  });

  test.each([
    ["its name", (_: string) => "short-lived"],
    ["its id", (code: string) => code.slice(0, 4).toLowerCase()],
    ["the whole code", (code: string) => code],
  ])("is revoked by %s", async (_, who) => {
    const { code } = await invite("--name", "short-lived");
    const other = await invite("--name", "kept");
    const revoked = await site.manage(["invite", "--revoke", who(code)]);
    expect(revoked).toMatchObject({ exitCode: 0, stderr: "" });
    expect(revoked.stdout).toBe(`The invitation ${code.slice(0, 4)} ('short-lived') is revoked.\n`);
    expect((await joinWith(code, newcomer())).exitCode).toBe(3);

    const again = await site.manage(["invite", "--revoke", who(code), "--json"]);
    expect([again.exitCode, JSON.parse(again.stdout)]).toMatchObject([2, { code: "bad_config" }]);
    expect(again.stdout).toContain(`${other.code.slice(0, 4)} ('kept')`);
    expect((await site.manage(["invite", "--revoke", other.code])).exitCode).toBe(0);
  });

  test("is not spent by a client that has another server's certificate", async () => {
    const { code } = await invite();
    const [certs, before] = [newcomer(), await trusted()];
    await run([site.client, "init", "--certs", certs]);
    const other = await newIdentity();
    await writeFile(join(certs, "server.crt"), other.certificatePem);
    const refused = await joinWith(code, certs);
    expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([2, { code: "bad_config" }]);
    expect(refused.stdout).toContain(
      `${join(certs, "server.crt")} names the server's key as ${other.fingerprint}`,
    );
    expect(refused.stdout).toContain("The code was not spent.");
    await expectNothingKept(certs, before);

    // What the message says to do works, and so does the server's own certificate there.
    await copyFile(join(site.certs, "server.crt"), join(certs, "server.crt"));
    expect(JSON.parse((await joinWith(code, certs)).stdout)).toMatchObject({ code_spent: true });
  });

  test("whose name the trust file would refuse, or already has, is not made", async () => {
    await invite("--name", "x".repeat(64));
    await site.manage(["trust", "ab".repeat(32), "--name", "taken"]);
    const file = join(site.certs, "invitations.json");
    const before = await Bun.file(file).text();
    for (const [name, why] of [
      ["x".repeat(65), "at most 64 characters"],
      ["a\u001b[31mb", "printable"],
      ["", "printable"],
      ["taken", `veripy-server untrust ${"ab".repeat(32)}`],
    ] as const) {
      const refused = await site.manage(["invite", "--name", name]);
      expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
      expect(refused.stderr).toContain(why);
    }
    expect(await Bun.file(file).text()).toBe(before);
    expect((await joinWith((await invite()).code, newcomer())).exitCode).toBe(0);
  });

  test.each([["not a code"], ["K3F9-7QXM"]])(
    "code like %j is a usage error, and nobody is asked",
    async (text) => {
      const refused = await joinWith(text, newcomer());
      expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([2, { code: "bad_config" }]);
    },
  );
});

describe("a client whose key is already in the trust file", () => {
  /** A client that has a key, which the server knows as the entry says. */
  async function known(entry: (fingerprint: string) => TrustEntry): Promise<string> {
    const certs = newcomer();
    const { stdout } = await run([site.client, "init", "--certs", certs, "--json"]);
    const { fingerprint } = JSON.parse(stdout) as { fingerprint: string };
    await trust(site, entry(fingerprint));
    return certs;
  }

  test.each([
    ["with a name", (fingerprint: string) => ({ fingerprint, name: "old hand" }), "old hand"],
    ["without one", (fingerprint: string) => fingerprint, undefined],
  ])(
    "%s is told so, keeps the server's key, and leaves the code to the one it was made for",
    async (_, entry, name) => {
      const certs = await known(entry);
      const { code } = await invite("--name", `meant-for-${name ?? "nobody"}`);
      const before = await trusted();
      const json = await joinWith(code, certs);
      expect(json.exitCode).toBe(0);
      expect(JSON.parse(json.stdout)).toMatchObject({ already_trusted: true, code_spent: false });
      expect((JSON.parse(json.stdout) as { name?: string }).name).toBe(name);
      const text = await run([site.client, "join", `localhost:${site.port}`, code, "--certs", certs]);
      expect(text.stdout).toContain(`already trusts this client${name === undefined ? "" : ` as ${name}`}.`);
      expect(text.stdout).toContain("The code was not spent.");
      expect(text.stdout).not.toContain("Joined");
      expect(await trusted()).toBe(before);
      expect((await list(certs)).exitCode).toBe(0);

      const joined = await joinWith(code, newcomer());
      expect(JSON.parse(joined.stdout)).toMatchObject({ already_trusted: false, code_spent: true });
    },
  );

  test.each([
    [
      "as the next key of another entry",
      (fingerprint: string) => ({ fingerprint: "cd".repeat(32), name: "mallory", next: fingerprint }),
      /\('mallory'\), as the next key of another key/,
    ],
    [
      "but has expired",
      (fingerprint: string) => ({ fingerprint, name: "past", expires: "2020-01-01" }),
      /\('past'\), and its entry has expired/,
    ],
    [
      "but may not come from here",
      (fingerprint: string) => ({ fingerprint, name: "elsewhere", from: ["10.0.0.0/8"] }),
      /\('elsewhere'\), and its entry does not allow the address 127.0.0.1/,
    ],
  ])("%s is refused with the reason, and the code stays good", async (_, entry, reason) => {
    const certs = await known(entry);
    const { code } = await invite();
    const before = await trusted();
    const refused = await joinWith(code, certs);
    expect(refused.exitCode).toBe(3);
    const { error, code: errorCode } = JSON.parse(refused.stdout) as { error: string; code: string };
    expect(errorCode).toBe("forbidden");
    expect(error).toMatch(reason);
    expect(error).toContain("The code was not spent.");
    await expectNothingKept(certs, before);
    expect((await joinWith(code, newcomer())).exitCode).toBe(0);
  });

  test("learns nothing about that without a valid code", async () => {
    const certs = await known((fingerprint) => ({
      fingerprint: "ef".repeat(32),
      name: "secret",
      next: fingerprint,
    }));
    const { code } = await invite();
    const refused = await joinWith(wrongSecret(code), certs);
    expect(refused.exitCode).toBe(3);
    expect(refused.stdout).not.toContain("secret");
    expect(refused.stdout).toContain("wrong, spent or expired");
  });
});

describe("a man in the middle", () => {
  /** Takes the client's connection with a key of its own, and passes on every byte to and from the server. */
  class Relay implements Disposable {
    /** What the client said and what the server answered. */
    readonly passed = { up: "", down: "" };
    readonly #listener: Bun.TCPSocketListener<{ upstream: Promise<Stranger> }>;

    constructor(shown: Identity, own: Identity, target: number) {
      this.#listener = Bun.listen<{ upstream: Promise<Stranger> }>({
        hostname: "127.0.0.1",
        port: 0,
        tls: {
          key: shown.keyPem,
          cert: shown.certificatePem,
          requestCert: true,
          rejectUnauthorized: false,
          ALPNProtocols: alpnList(joinProtocol),
        },
        socket: {
          open: (socket) => {
            socket.data = { upstream: Stranger.connect(target, own) };
          },
          data: async (socket, chunk) => {
            this.passed.up += chunk.toString();
            const upstream = await socket.data.upstream;
            upstream.send(chunk.toString());
            await upstream.closed;
            this.passed.down += upstream.received;
            socket.write(upstream.received);
            socket.end();
          },
        },
      });
    }

    get port(): number {
      return this.#listener.port;
    }

    [Symbol.dispose](): void {
      this.#listener.stop(true);
    }
  }

  test("cannot use a code that it relays, and neither side trusts anybody afterwards", async () => {
    const { code } = await invite();
    const [shown, own] = [await newIdentity(), await newIdentity()];
    using relay = new Relay(shown, own, site.port);
    const [certs, before] = [newcomer(), await trusted()];
    const refused = await joinWith(code, certs, `127.0.0.1:${relay.port}`);
    expect(refused.exitCode).toBe(3);
    expect(relay.passed.up).toStartWith("sys:join:");
    expect(relay.passed.down).toContain('"code":"forbidden"');
    await expectNothingKept(certs, before);
    expect(await trusted()).not.toContain(own.fingerprint);
    // He had one attempt, which counts; the code itself he has not learned.
    expect((await joinWith(code, certs)).exitCode).toBe(0);
  });

  test("cannot pose as the server, because it cannot prove that it knows the code", async () => {
    const { code } = await invite();
    const shown = await newIdentity();
    using liar = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: {
        key: shown.keyPem,
        cert: shown.certificatePem,
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: alpnList(joinProtocol),
      },
      socket: {
        data: (socket, chunk) => {
          const ref = chunk.toString().split(/[: ]/)[2];
          // The client's own proof is the best that he has.
          const proof = /"proof":"([0-9a-f]+)"/.exec(chunk.toString())?.[1];
          socket.write(`sys:join_resp:${ref} {"proof":"${proof}","name":"alice"}\n`);
        },
      },
    });
    const certs = newcomer();
    const refused = await joinWith(code, certs, `127.0.0.1:${liar.port}`);
    expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([3, { code: "untrusted" }]);
    expect(existsSync(join(certs, "known-servers.json"))).toBe(false);
    // The twin: the server that made the code proves it.
    expect((await joinWith(code, certs)).exitCode).toBe(0);
  });
});

describe("while an invitation is open, a stranger", () => {
  let code: string;
  let identity: Identity;

  beforeAll(async () => {
    ({ code } = await invite());
    identity = await newIdentity();
  });
  /** What `veripy-client join` would send, but for the proof. */
  const request = (proof: string) => `sys:join:1 ${JSON.stringify({ id: parseCode(code).id, proof })}\n`;

  /** Its certificate and key, for another program. */
  async function filesOf({ certificatePem, keyPem }: Identity): Promise<string[]> {
    const files = ["stranger.crt", "stranger.key"].map((name) => join(site.path, name));
    await writeFile(files[0] ?? "", certificatePem);
    await writeFile(files[1] ?? "", keyPem);
    return files;
  }

  test("that does not ask to join is disconnected before a byte is parsed", async () => {
    using plain = await Stranger.connect(site.port, identity, null);
    plain.send(request("0".repeat(64)));
    await within(2_000, "the end", plain.closed);
    expect(plain.received).toBe("");

    using asking = await Stranger.connect(site.port, identity);
    asking.send(request("0".repeat(64)));
    await within(2_000, "the end", asking.closed);
    expect(asking.received).toStartWith('sys:join_resp:1 {"error":');
  });

  test.each([["mod:sync:1 {}\n"], ["mod:exec:1 {}\n"], ["sys:info:1 {}\n"], ["sys:rotate:1 {}\n"]])(
    "can do nothing but join: %j",
    async (line) => {
      using stranger = await Stranger.connect(site.port, identity);
      stranger.send(line);
      await within(2_000, "the end", stranger.closed);
      expect(stranger.received).toContain("The only request on this connection is 'sys:join'");
      expect(stranger.received.split("\n")).toHaveLength(2);
    },
  );

  test("has one attempt per connection", async () => {
    using stranger = await Stranger.connect(site.port, identity);
    stranger.send(request("1".repeat(64)) + request("2".repeat(64)) + request("3".repeat(64)));
    await within(2_000, "the end", stranger.closed);
    expect(stranger.received.match(/join_resp/g)).toHaveLength(1);
  });

  test("that sends a long line is disconnected at a kibibyte", async () => {
    using stranger = await Stranger.connect(site.port, identity);
    stranger.send(`sys:join:1 {"id":"${"x".repeat(1_100)}`);
    await within(900, "the end", stranger.closed);
    expect(stranger.received).toStartWith("sys:error:- ");
    expect(stranger.received).toContain('"too_large"');
  });

  test("that sends nothing, or sends it slowly, is disconnected when its time is up", async () => {
    using silent = await Stranger.connect(site.port, identity);
    using slow = await Stranger.connect(site.port, identity);
    const since = performance.now();
    const timer = setInterval(() => slow.send("s"), 50);
    await within(3_000, "both ends", Promise.all([silent.closed, slow.closed]));
    clearInterval(timer);
    expect(performance.now() - since).toBeGreaterThan(800);
    expect(silent.received + slow.received).toBe("");
  });

  test("is one of sixteen at most: the oldest of its address makes room for the next", async () => {
    const strangers: Stranger[] = [];
    for (let index = 0; index < 16; index++) strangers.push(await Stranger.connect(site.port, identity));
    using extra = await Stranger.connect(site.port, identity);
    await within(900, "the first to be closed", strangers[0]?.closed ?? Promise.reject());
    expect(strangers.slice(1).filter(({ isClosed }) => isClosed)).toEqual([]);
    extra.send("sys:info:1 {}\n");
    await within(2_000, "the end", extra.closed);
    expect(extra.received).toContain("The only request on this connection is 'sys:join'");
    for (const stranger of strangers) stranger[Symbol.dispose]();
  });

  test.skipIf(process.platform !== "linux" || python === undefined)(
    "does not keep others out, whatever one address does",
    async () => {
      const where = ["127.0.0.2", `${site.port}`];
      await using flood = new Running(pythonFixture("join_flood.py", ...where, ...(await filesOf(identity))));
      await eventually(
        "the flood to have all that it can get",
        () => flood.stdout.filter((line) => line === "held").length > 100,
      );
      for (let attempt = 0; attempt < 3; attempt++) {
        const { code: own } = await invite();
        const joined = await joinWith(own, newcomer());
        expect(joined).toMatchObject({ exitCode: 0, stderr: "" });
      }
      const before = flood.stdout.length;
      await eventually("the flood to go on", () => flood.stdout.length > before);
    },
  );

  test.skipIf(python === undefined).each([
    ["a wrong code", () => request("3".repeat(64)).trim()],
    ["something else", () => "mod:sync:1 {}"],
    ["a long line", () => `sys:join:1 {"id":"${"x".repeat(1_100)}`],
    ["no frame", () => "hello"],
  ])("is not read any further after %s, though it goes on", async (_, line) => {
    const talker = pythonFixture("join_talker.py", `${site.port}`, ...(await filesOf(identity)), line());
    const { stdout, stderr } = await run(talker);
    expect(stderr).toBe("");
    // What the two ends' systems hold for a socket that nobody reads.
    expect(Number(stdout)).toBeLessThan(4 * 1024 * 1024);
  });

  test("that tries wrong codes as fast as possible causes one line per second, which counts the others", async () => {
    await using other = await Site.create();
    const log = await other.start();
    const { stdout } = await other.manage(["invite", "--json"]);
    const { id } = parseCode((JSON.parse(stdout) as { code: string }).code);
    // Of an id that there is not, so that the invitation stays open.
    const wrong = `sys:join:1 ${JSON.stringify({ id: id === "ZZZZ" ? "YYYY" : "ZZZZ", proof: "0".repeat(64) })}\n`;
    const since = performance.now();
    const attempts = 60;
    for (let attempt = 0; attempt < attempts; attempt++) {
      using stranger = await Stranger.connect(other.port, identity);
      stranger.send(wrong);
      await stranger.closed;
      expect(stranger.received).toContain('"forbidden"');
    }
    // One more, in a second of its own, says how many there were.
    await Bun.sleep(1_000);
    using last = await Stranger.connect(other.port, identity);
    last.send(wrong);
    await last.closed;
    const seconds = Math.ceil((performance.now() - since) / 1_000) + 1;
    const lines = await eventually("the last line", () => {
      const found = log.stderr.filter((line) => line.includes("A wrong invitation code from"));
      return found.at(-1)?.includes("suppressed") && found;
    });
    expect(lines.length).toBeLessThanOrEqual(seconds);
    const suppressed = lines.map((line) => Number(/\((\d+) similar/.exec(line)?.[1] ?? 0));
    expect(lines.length + suppressed.reduce((sum, count) => sum + count, 0)).toBe(attempts + 1);
  });

  test("disturbs neither trusted clients nor the invited one", async () => {
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect((await joinWith(code, newcomer())).exitCode).toBe(0);
  });
});

test("when no invitation is open, a client that asks to join is disconnected before a byte is parsed", async () => {
  await using other = await Site.create();
  await other.start();
  using stranger = await Stranger.connect(other.port, await newIdentity());
  stranger.send("sys:info:1 {}\n");
  await within(2_000, "the end", stranger.closed);
  expect(stranger.received).toBe("");
});
