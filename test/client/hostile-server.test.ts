import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Identity } from "../../src/identity/identity.ts";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import {
  AnsweringServer,
  honestAnswer,
  honestFrame,
  type Script,
  servedModules,
} from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { eventually, within } from "../helpers/within.ts";

let server: Identity;
let client: Identity;
let certs: { path: string } & AsyncDisposable;
const unhandled: unknown[] = [];
const remember = (error: unknown) => void unhandled.push(error);

beforeAll(async () => {
  process.on("unhandledRejection", remember);
  server = await newIdentity("server");
  client = await newIdentity("client");
  certs = await temporaryDirectory();
});
afterAll(async () => {
  // An unhandled rejection is reported a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", remember);
  await certs[Symbol.asyncDispose]();
  expect(unhandled).toEqual([]);
});

function open({ port }: AnsweringServer, options: ConnectOptions = {}): Promise<VeripyClient> {
  return connect({
    host: "127.0.0.1",
    port,
    identity: client,
    serverFingerprint: server.fingerprint,
    certsDir: certs.path,
    timeoutMs: 300,
    ...options,
  });
}

/** Answers the first sync honestly, so that `connect` succeeds, and then follows the script. */
const then =
  (script: Script): Script =>
  (line, asker) =>
    asker.linesBefore === 0 ? honestFrame(line) : script(line, asker);

/** `ok`, or the code of the failure. Fails if the call does not end in time, or with another error than a VeripyError. */
async function ended(call: Promise<unknown>): Promise<string> {
  try {
    await within(4_000, "the end of a call", call);
    return "ok";
  } catch (error) {
    if (error instanceof VeripyError) return error.code;
    throw error;
  }
}

const calls: Readonly<Record<string, (client: VeripyClient) => Promise<unknown>>> = {
  sync: (client) => client.sync(),
  verify: (client) => client.verify("echo.ts"),
  verifyAll: (client) => client.verifyAll(),
  exec: (client) => client.exec("echo.ts", "x", { timeoutMs: 200 }),
  stats: (client) => client.stats(),
  info: (client) => client.info(),
  ping: (client) => client.ping(),
};
const callNames = Object.keys(calls);
const call = (name: string, client: VeripyClient): Promise<unknown> =>
  (calls[name] ?? Promise.reject)(client);

describe("a server that", () => {
  test("stops answering: every kind of call ends at its deadline", async () => {
    using hostile = new AnsweringServer(server);
    hostile.script = then(() => "");
    using connected = await open(hostile);
    const codes = await Promise.all(callNames.map((name) => ended(call(name, connected))));
    expect(codes).toEqual(callNames.map(() => "timeout"));
    expect(connected.isConnected).toBe(true);
  });

  test("accepts and never speaks: connecting ends at its deadline", async () => {
    using hostile = new AnsweringServer(server);
    hostile.script = () => "";
    expect(await ended(open(hostile))).toBe("timeout");
  });

  test("says everything twice, and answers what was not asked: each call gets its own first answer", async () => {
    using hostile = new AnsweringServer(server);
    hostile.script = then((line) => {
      const answer = honestFrame(line);
      return `mod:exec_resp:zzz {"mod":"x"}\nsys:pong:unasked {}\nx:y:z {}\n${answer}${answer}`;
    });
    using connected = await open(hostile);
    for (let round = 0; round < 3; round++) {
      const codes = await Promise.all(callNames.map((name) => ended(call(name, connected))));
      expect(codes).toEqual(callNames.map(() => "ok"));
    }
  });

  test("answers one call with the answer to another: an error, not the other's result", async () => {
    using hostile = new AnsweringServer(server);
    hostile.script = then((line) =>
      honestFrame(line)
        .replace(/^mod:\w+/, "mod:stats_resp")
        .replace("{", '{"modules":[],'),
    );
    using connected = await open(hostile);
    expect(await ended(connected.verify("echo.ts"))).not.toBe("timeout");
    expect(await ended(connected.exec("echo.ts", "x"))).not.toBe("timeout");
  });

  test.each([
    ["a part out of order", 'mod:exec_part:REF {"seq":1,"data":"x"}\n'],
    ["a part without fields", "mod:exec_part:REF {}\n"],
    ["an impossible progress", 'mod:exec_progress:REF {"fraction":7}\n'],
  ])("sends %s: the call fails, and onPart is no longer called", async (_, frame) => {
    using hostile = new AnsweringServer(server);
    hostile.script = then((line) => {
      if (!line.startsWith("mod:exec:")) return honestFrame(line);
      const ref = /^mod:exec:(\S+)/.exec(line)?.[1] ?? "";
      return `${frame.replace("REF", ref)}mod:exec_part:${ref} {"seq":0,"data":"late"}\n${honestFrame(line)}`;
    });
    using connected = await open(hostile);
    const parts: string[] = [];
    const code = await ended(
      connected.exec("echo.ts", "x", { onPart: (part) => parts.push(part), onProgress: () => {} }),
    );
    expect(code).toBe("protocol_error");
    expect(parts).toEqual([]);
  });

  test("answers with the longest allowed line is accepted; with one byte more, it is disconnected", async () => {
    using hostile = new AnsweringServer(server);
    const maxAnswerLineBytes = 2_000;
    for (const [excess, expected] of [
      [0, "ok"],
      [1, "too_large"],
    ] as const) {
      hostile.script = then((line) => {
        const answer = honestFrame(line);
        // Spaces before the payload count for the line only.
        return answer.replace(" {", `${" ".repeat(1 + maxAnswerLineBytes + excess - (answer.length - 1))}{`);
      });
      using connected = await open(hostile, { limits: { maxAnswerLineBytes } });
      expect(await ended(connected.sync())).toBe(expected);
    }
  });

  test("never ends its line: it is disconnected at the limit", async () => {
    using hostile = new AnsweringServer(server);
    let sent = 0;
    hostile.script = then((_, asker) => {
      const more = setInterval(() => {
        sent += 10_000;
        asker.write("x".repeat(10_000));
        if (sent > 1_000_000) clearInterval(more);
      }, 1);
      return "";
    });
    using connected = await open(hostile, { limits: { maxAnswerLineBytes: 64 * 1024 }, timeoutMs: 3_000 });
    expect(await ended(connected.sync())).toBe("too_large");
    expect(sent).toBeLessThan(1_000_000);
    await eventually("the end of the connection", () => !connected.isConnected);
  });

  test("broadcasts without end: calls are still answered", async () => {
    using hostile = new AnsweringServer(server);
    const news = 'moderror:moderror:s1 {"mod":"x.ts","error":"no"}\n'.repeat(200);
    let talk: ReturnType<typeof setInterval> | undefined;
    hostile.script = then((line, asker) => {
      talk ??= setInterval(() => {
        if (asker.unsentBytes === 0) asker.write(news);
      }, 0);
      return honestFrame(line);
    });
    using connected = await open(hostile);
    let heard = 0;
    connected.on("news", () => {
      heard += 1;
    });
    while (heard < 2_000) expect(await ended(connected.ping())).toBe("ok");
    expect(await ended(connected.exec("echo.ts", "x"))).toBe("ok");
    clearInterval(talk);
  });

  test("reports ever more modules: the client keeps a limited number of them", async () => {
    using hostile = new AnsweringServer(server);
    const sum = "0".repeat(64);
    let told = 0;
    hostile.script = then((line, asker) => {
      const talk = setInterval(() => {
        if (asker.unsentBytes > 0) return;
        const lines = Array.from(
          { length: 1_000 },
          () => `modload:modload:s {"mod":"${told++}.ts","sum":"${sum}"}\n`,
        );
        asker.write(lines.join(""));
      }, 0);
      setTimeout(() => clearInterval(talk), 10_000).unref();
      return honestFrame(line);
    });
    using connected = await open(hostile);
    const end = new Promise<VeripyError>((resolve) => connected.once("closed", resolve));
    expect(await ended(connected.ping())).toBe("ok");
    expect((await within(10_000, "the end", end)).message).toContain("more than 100000 modules");
    expect(connected.reports.size).toBe(100_000);
  }, 20_000);

  test("breaks off after any byte of an answer: the call fails at once, unless the answer is complete", async () => {
    using hostile = new AnsweringServer(server);
    const answer = (ref: string) => honestFrame(`mod:sync:${ref} {}`);
    const length = answer("2").length;
    for (let bytes = 0; bytes <= length; bytes++) {
      hostile.script = then((line, asker) => {
        asker.write(answer(/^mod:sync:(\S+)/.exec(line)?.[1] ?? "").slice(0, bytes));
        if (bytes % 2 === 0) asker.end();
        else asker.terminate();
        return "";
      });
      using connected = await open(hostile, { timeoutMs: 3_000 });
      const startedAt = performance.now();
      const code = await ended(connected.sync());
      expect(performance.now() - startedAt).toBeLessThan(1_500);
      // A reset may overtake what was sent before it.
      if (bytes === length) expect(["ok", "unreachable"]).toContain(code);
      else expect(code).toBe("unreachable");
    }
  }, 20_000);

  test("breaks off after any byte of its first answer: connecting fails", async () => {
    using hostile = new AnsweringServer(server);
    const length = honestFrame("mod:sync:1 {}").length;
    for (let bytes = 0; bytes < length; bytes += 7) {
      hostile.script = (line, asker) => {
        asker.write(honestFrame(line).slice(0, bytes));
        asker.end();
        return "";
      };
      expect(["untrusted", "unreachable"]).toContain(await ended(open(hostile)));
    }
  });
});

describe("close()", () => {
  test("at any moment settles every call once, and is reported once", async () => {
    using hostile = new AnsweringServer(server);
    for (let turns = 0; turns < 30; turns++) {
      using connected = await open(hostile);
      let ends = 0;
      connected.on("closed", () => {
        ends += 1;
      });
      const begun = callNames.map((name) => ended(call(name, connected)));
      for (let turn = 0; turn < turns; turn++) await (turn % 3 === 0 ? Bun.sleep(0) : Promise.resolve());
      connected.close();
      connected.close();
      for (const code of await Promise.all(begun)) expect(["ok", "closed"]).toContain(code);
      expect(ends).toBe(1);
      expect(await ended(connected.ping())).toBe("closed");
    }
  });

  test("while reconnecting ends the attempts", async () => {
    const hostile = new AnsweringServer(server);
    using connected = await open(hostile, { reconnect: true });
    const broken = new Promise((resolve) => connected.once("disconnected", resolve));
    hostile[Symbol.dispose]();
    await within(2_000, "the broken connection", broken);
    expect(await ended(connected.ping())).toBe("unreachable");
    connected.close();
    expect(await ended(connected.ping())).toBe("closed");
  });
});

type Behaviour =
  | "honest"
  | "silent"
  | "twice"
  | "half"
  | "garbage"
  | "late"
  | "end"
  | "reset"
  | "error"
  | "news";

const behave: Readonly<Record<Behaviour, Script>> = {
  honest: honestFrame,
  silent: () => "",
  twice: (line) => honestFrame(line) + honestFrame(line),
  half: (line) => honestFrame(line).slice(0, 20),
  garbage: () => Uint8Array.of(0xff, 0x00, 0x0a),
  late: (line, asker) => {
    setTimeout(() => asker.write(honestFrame(line)), 5);
    return "";
  },
  end: (line, asker) => {
    queueMicrotask(() => asker.end());
    return honestFrame(line);
  },
  reset: (_, asker) => {
    asker.terminate();
    return "";
  },
  error: (line) => honestFrame(line).replace(/ \{.*/, ' {"error":"no","code":"busy"}'),
  news: (line) =>
    `modunload:modunload:s1 {"mod":"echo.ts"}\n${honestFrame(line)}sys:resync:s2 {}\nsys:error:- {"error":"x"}\n`,
};

test("in any interleaving of calls, answers, closes and pauses, each call ends exactly once", async () => {
  using hostile = new AnsweringServer(server);
  const behaviours = Object.keys(behave) as Behaviour[];
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...callNames) },
    { weight: 2, arbitrary: fc.constantFrom("turn", "pause") },
    { weight: 1, arbitrary: fc.constant("close") },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 25 }),
      fc.array(fc.constantFrom(...behaviours), { minLength: 1, maxLength: 25 }),
      fc.boolean(),
      async (steps, answers, reconnect) => {
        let answered = 0;
        hostile.script = then((line, asker) => {
          answered += 1;
          return behave[answers[answered % answers.length] ?? "honest"](line, asker);
        });
        // The short deadline is meant for the calls; on a busy machine, connecting may exceed it.
        using connected = await eventually("a connection", () =>
          open(hostile, { reconnect, timeoutMs: 60 }).catch(() => undefined),
        );
        const begun: Promise<string>[] = [];
        for (const name of steps) {
          if (name === "turn") await Promise.resolve();
          else if (name === "pause") await Bun.sleep(1);
          else if (name === "close") connected.close();
          else begun.push(ended(call(name, connected)));
        }
        await Promise.all(begun);
      },
    ),
    { seed: 20261123, numRuns: 150, endOnFailure: true },
  );
}, 60_000);

describe("a server that describes its modules falsely", () => {
  const truth = { desc: "", permissions: {}, described_by: "source" };
  const forged: [field: string, lie: object][] = [
    ["desc", { desc: "safe, believe me" }],
    ["input", { input: { type: "object" } }],
    ["permissions", { permissions: { read: ["/etc"] } }],
    ["permissions", { permissions: "all" }],
    ["permissions", { permissions: undefined }],
    ["described_by", { described_by: "server" }],
    ["described_by", { described_by: undefined }],
  ];

  /** Describes each module with these fields where it lists, and with others where it answers `verify`. */
  const describing =
    (listed: object, answered: object): Script =>
    (line) => {
      const { type, ref, payload } = honestAnswer(line);
      const modules = servedModules.map((report) => ({ ...report, ...listed }));
      const described = type === "mod:sync_resp" ? { modules } : { ...payload, ...answered };
      return `${type}:${ref} ${JSON.stringify(type === "mod:exec_resp" ? payload : described)}\n`;
    };

  test("is told from one that describes them as their source does", async () => {
    using honest = new AnsweringServer(server);
    honest.script = describing(truth, truth);
    using connected = await open(honest);
    expect(await connected.verify("echo.ts")).toMatchObject({ verified: true, describedBy: "source" });
    expect((await connected.exec("echo.ts", "x")).result).toBe("x");
  });

  test.each(forged)("is caught by another %s, and runs nothing: %j", async (field, lie) => {
    for (const [listed, answered] of [
      [{ ...truth, ...lie }, truth],
      [truth, { ...truth, ...lie }],
    ] as const) {
      using hostile = new AnsweringServer(server);
      const asked: string[] = [];
      hostile.script = (line, asker) => {
        asked.push(line);
        return describing(listed, answered)(line, asker);
      };
      using connected = await open(hostile);
      const verdict = await connected.verify("echo.ts");
      const whats = verdict.verified ? [] : verdict.mismatches.map(({ what }) => what);
      expect(whats).toEqual([`the ${field} of echo.ts`]);
      expect(await ended(connected.exec("echo.ts", "x"))).toBe("verification_failed");
      expect(asked.filter((line) => line.startsWith("mod:exec"))).toEqual([]);
    }
  });
});
