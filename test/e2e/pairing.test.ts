import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import { createCode, formatCode, parseCode } from "../../src/identity/invitation-code.ts";
import { joinProtocol } from "../../src/protocol/messages.ts";
import { alpnList } from "../../src/tls/alpn.ts";
import { newIdentity } from "../helpers/keys.ts";
import { type Ended, type Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Stranger } from "../helpers/stranger.ts";
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
  test("makes both sides know each other, and the client needs nothing else", async () => {
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

  test("is printed with the command to type, which works as it stands", async () => {
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

  test("dies of the fifth wrong code, and the right one is refused then", async () => {
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

  test("whose name somebody has got meanwhile lets in without a name", async () => {
    const [first, second] = [await invite("--name", "twin"), await invite("--name", "twin")];
    const joined = await Promise.all([joinWith(first.code, newcomer()), joinWith(second.code, newcomer())]);
    const names = joined.map(({ stdout }) => (JSON.parse(stdout) as { name?: string }).name);
    expect(names.sort()).toEqual(["twin", undefined]);
    await server.line("The invited name twin is not given");
  });

  test.each([["not a code"], ["K3F9-7QXM"]])(
    "code like %j is a usage error, and nobody is asked",
    async (text) => {
      const refused = await joinWith(text, newcomer());
      expect([refused.exitCode, JSON.parse(refused.stdout)]).toMatchObject([2, { code: "bad_config" }]);
    },
  );
});

describe("somebody between the two ends", () => {
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

  test("cannot use a code that he passes on, and neither side trusts anybody afterwards", async () => {
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

  test("cannot pose as the server: without the code nobody proves to know it", async () => {
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

  test("who does not ask to join is closed before a byte is parsed", async () => {
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
      expect(stranger.received).toContain("there is only the request 'sys:join'");
      expect(stranger.received.split("\n")).toHaveLength(2);
    },
  );

  test("has one attempt for each connection", async () => {
    using stranger = await Stranger.connect(site.port, identity);
    stranger.send(request("1".repeat(64)) + request("2".repeat(64)) + request("3".repeat(64)));
    await within(2_000, "the end", stranger.closed);
    expect(stranger.received.match(/join_resp/g)).toHaveLength(1);
  });

  test("who sends a long line is cut off at a kibibyte", async () => {
    using stranger = await Stranger.connect(site.port, identity);
    stranger.send(`sys:join:1 {"id":"${"x".repeat(1_100)}`);
    await within(900, "the end", stranger.closed);
    expect(stranger.received).toStartWith("sys:error:- ");
    expect(stranger.received).toContain('"too_large"');
  });

  test("who says nothing, or says it slowly, is cut off when his time is up", async () => {
    using silent = await Stranger.connect(site.port, identity);
    using slow = await Stranger.connect(site.port, identity);
    const since = performance.now();
    const timer = setInterval(() => slow.send("s"), 50);
    await within(3_000, "both ends", Promise.all([silent.closed, slow.closed]));
    clearInterval(timer);
    expect(performance.now() - since).toBeGreaterThan(800);
    expect(silent.received + slow.received).toBe("");
  });

  test("is one of sixteen at most, and the next may come when one has left", async () => {
    const strangers: Stranger[] = [];
    for (let index = 0; index < 16; index++) strangers.push(await Stranger.connect(site.port, identity));
    using extra = await Stranger.connect(site.port, identity);
    await within(900, "the seventeenth to be closed", extra.closed);
    expect(extra.received).toBe("");
    expect(strangers.filter(({ isClosed }) => isClosed)).toEqual([]);
    strangers[0]?.[Symbol.dispose]();
    await eventually("another to be let in", async () => {
      using next = await Stranger.connect(site.port, identity);
      next.send("sys:info:1 {}\n");
      await next.closed;
      return next.received !== "";
    });
    for (const stranger of strangers) stranger[Symbol.dispose]();
  });

  test("disturbs neither those who are trusted nor the one who was invited", async () => {
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect((await joinWith(code, newcomer())).exitCode).toBe(0);
  });
});

test("when no invitation is open, who asks to join is closed before a byte is parsed", async () => {
  await using other = await Site.create();
  await other.start();
  using stranger = await Stranger.connect(other.port, await newIdentity());
  stranger.send("sys:info:1 {}\n");
  await within(2_000, "the end", stranger.closed);
  expect(stranger.received).toBe("");
});
