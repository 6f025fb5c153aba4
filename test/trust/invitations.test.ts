import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { type ProofBinding, parseCode, proofOf, verifierOf } from "../../src/trust/invitation-code.ts";
import {
  createInvitation,
  hasOpenInvitation,
  maxAttempts,
  redeemInvitation,
} from "../../src/trust/invitations.ts";
import { trustText } from "../helpers/keys.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const binding: ProofBinding = {
  exporter: randomBytes(32),
  client: "c".repeat(64) as Fingerprint,
  server: "5".repeat(64) as Fingerprint,
};
const fileOf = (dir: string) => join(dir, "invitations.json");
const proofFor = (code: string) => proofOf("client", verifierOf(parseCode(code)), binding);

async function invite(dir: string, options: { name?: string; validMs?: number } = {}) {
  const { code } = await createInvitation(dir, { validMs: 60_000, ...options });
  const { id } = parseCode(code);
  return { code, id, redeem: (proof = proofFor(code)) => redeemInvitation(dir, id, proof, binding) };
}

describe("an invitation", () => {
  test("is redeemed once, with its name and with the server's own proof", async () => {
    const dir = temporaryDirectory();
    const { code, redeem } = await invite(dir, { name: "alice" });
    const proof = proofOf("server", verifierOf(parseCode(code)), binding);
    expect(await redeem()).toMatchObject({ accepted: true, fields: { name: "alice" }, proof });
    expect(await redeem()).toEqual({ accepted: false });
  });

  test("keeps nothing on disk from which the code could be read, and nothing that others can read", async () => {
    const dir = temporaryDirectory();
    const { code } = await invite(dir);
    const text = readFileSync(fileOf(dir), "utf8");
    const { secret } = parseCode(code);
    for (let at = 0; at <= secret.length - 8; at++) expect(text).not.toContain(secret.slice(at, at + 8));
    if (process.platform !== "win32") expect(statSync(fileOf(dir)).mode & 0o777).toBe(0o600);
  });

  test("survives four wrong proofs and dies of the fifth, for the right one too", async () => {
    const dir = temporaryDirectory();
    const [lucky, unlucky] = [await invite(dir), await invite(dir)];
    const wrong = "0".repeat(64);
    for (let attempt = 1; attempt < maxAttempts; attempt++) {
      expect(await lucky.redeem(wrong)).toEqual({ accepted: false });
      expect(await unlucky.redeem(wrong)).toEqual({ accepted: false });
    }
    expect(maxAttempts).toBe(5);
    expect(await lucky.redeem()).toMatchObject({ accepted: true });
    expect(await unlucky.redeem(wrong)).toEqual({ accepted: false });
    expect(await unlucky.redeem()).toEqual({ accepted: false });
  });

  test("does not die of wrong proofs for another one or for none", async () => {
    const dir = temporaryDirectory();
    const [one, other] = [await invite(dir), await invite(dir)];
    for (let attempt = 0; attempt < 10; attempt++) {
      await other.redeem("0".repeat(64));
      await redeemInvitation(dir, "ZZZZ", "0".repeat(64), binding);
      await redeemInvitation(dir, "\n", "", binding);
    }
    expect(await one.redeem()).toMatchObject({ accepted: true });
  });

  test("is not good after its time", async () => {
    const dir = temporaryDirectory();
    const [expired, open] = [await invite(dir, { validMs: -1 }), await invite(dir)];
    expect(await expired.redeem()).toEqual({ accepted: false });
    expect(await open.redeem()).toMatchObject({ accepted: true });
  });

  test("stays open when its proof is right but it is not needed, or that cannot be told", async () => {
    const dir = temporaryDirectory();
    const { code, id, redeem } = await invite(dir, { name: "alice" });
    const asking = (isNeeded: () => Promise<boolean>, proof = proofFor(code)) =>
      redeemInvitation(dir, id, proof, binding, isNeeded);
    const unasked = () => {
      throw new Error("was asked");
    };
    expect(await asking(unasked, "0".repeat(64))).toEqual({ accepted: false });
    expect(await asking(async () => false)).toMatchObject({ accepted: true, fields: { name: "alice" } });
    await expect(asking(() => Promise.reject(new Error("the disk is gone")))).rejects.toThrow(
      "the disk is gone",
    );
    expect(await redeem()).toMatchObject({ accepted: true });
    expect(await asking(unasked)).toEqual({ accepted: false });
  });

  test("is good again when it is opened again, for a key that could not be trusted after all", async () => {
    const { redeem } = await invite(temporaryDirectory(), { name: "alice" });
    const first = await redeem();
    expect(await redeem()).toEqual({ accepted: false });
    if (first.accepted) await first.reopen();
    expect(await redeem()).toMatchObject({ accepted: true, fields: { name: "alice" } });
    expect(await redeem()).toEqual({ accepted: false });
  });

  test("is redeemed by exactly one of many who try at once", async () => {
    const { redeem } = await invite(temporaryDirectory());
    const results = await Promise.all(Array.from({ length: 12 }, () => redeem()));
    expect(results.filter(({ accepted }) => accepted)).toHaveLength(1);
  });

  test("counts every one of many wrong proofs that come at once", async () => {
    const { redeem } = await invite(temporaryDirectory());
    await Promise.all(Array.from({ length: maxAttempts }, () => redeem("0".repeat(64))));
    expect(await redeem()).toEqual({ accepted: false });
  });

  test("is spent, or still good, but never both, when the process is killed while it redeems", async () => {
    const dir = temporaryDirectory();
    const outcomes = { spent: 0, open: 0 };
    for (let round = 0; round < 12; round++) {
      const { id, code, redeem } = await invite(dir);
      const script = join(import.meta.dir, "fixtures/redeem.ts");
      const child = Bun.spawn([process.execPath, script, dir, id, proofFor(code)], {
        env: { ...process.env, EXPORTER: Buffer.from(binding.exporter).toString("hex") },
        stdout: "pipe",
        stderr: "inherit",
      });
      const output = new Response(child.stdout).text();
      // Each round the kill comes a little later: before the file is read, or locked, or replaced, or after it.
      await Promise.race([Bun.sleep(60 + round * 8), child.exited]);
      child.kill("SIGKILL");
      await child.exited;
      const wasTold = (await output).includes("accepted");
      JSON.parse(readFileSync(fileOf(dir), "utf8"));
      const { accepted } = await redeem();
      if (wasTold) expect(accepted).toBe(false);
      outcomes[accepted ? "open" : "spent"] += 1;
    }
    expect(outcomes.spent + outcomes.open).toBe(12);
    expect(readdirSync(dir).filter((name) => name.endsWith(".lock"))).toEqual([]);
  });
});

describe("an invitation's name", () => {
  test.each([
    ["x".repeat(65), "must have at most 64 characters"],
    ["", "must consist of printable"],
    [" alice", "must consist of printable"],
    ["a\nb", "must consist of printable"],
    ["a\u001b[2Jb", "must consist of printable"],
    ["a\u202eb", "must consist of printable"],
    ["c".repeat(64), "must not look like a fingerprint"],
  ])("%j is refused as the trust file would, and nothing is written", async (name, why) => {
    const dir = temporaryDirectory();
    await expect(invite(dir, { name })).rejects.toThrow(`Cannot invite under that name: it ${why}`);
    expect(readdirSync(dir)).toEqual([]);
    // The others can still be read.
    expect(await (await invite(dir, { name: "x".repeat(64) })).redeem()).toMatchObject({ accepted: true });
  });

  test("that a trusted key has is refused, with the way out", async () => {
    const dir = temporaryDirectory();
    const trustedKeysPath = join(dir, "trusted-keys.json");
    const options = (name: string) => ({ name, validMs: 60_000, trustedKeysPath });
    // Without a trust file there is no name to be taken.
    await createInvitation(dir, options("alice"));
    const fingerprint = "a".repeat(64);
    writeFileSync(trustedKeysPath, trustText({ fingerprint, name: "alice" }));
    await expect(createInvitation(dir, options("alice"))).rejects.toThrow(
      `veripy-server untrust ${fingerprint}`,
    );
    expect((await createInvitation(dir, options("bob"))).code).toBeString();
  });

  test("that was written by hand is checked like the others", async () => {
    const dir = temporaryDirectory();
    await invite(dir, { name: "alice" });
    const text = readFileSync(fileOf(dir), "utf8").replace('"alice"', '"a\\nb"');
    writeFileSync(fileOf(dir), text);
    expect(hasOpenInvitation(dir)).toBe(false);
  });
});

describe("the list of invitations", () => {
  test.skipIf(process.platform === "win32")(
    "is not read when everyone may write it, and the command that corrects that is given",
    async () => {
      const dir = temporaryDirectory();
      const { redeem } = await invite(dir);
      chmodSync(fileOf(dir), 0o666);
      const command = `chmod o-w ${fileOf(dir)}`;
      await expect(redeem()).rejects.toThrow(command);
      await expect(invite(dir)).rejects.toThrow(command);
      expect(Bun.spawnSync(command.split(" ")).exitCode).toBe(0);
      expect(await redeem()).toMatchObject({ accepted: true });
    },
  );

  test("is open while one is, and not when all are spent or expired, or there is no list", async () => {
    const dir = temporaryDirectory();
    expect(hasOpenInvitation(dir)).toBe(false);
    await invite(dir, { validMs: -1 });
    expect(hasOpenInvitation(dir)).toBe(false);
    const { redeem } = await invite(dir);
    expect(hasOpenInvitation(dir)).toBe(true);
    await redeem();
    expect(hasOpenInvitation(dir)).toBe(false);
  });

  test("has room for a hundred, and expired ones take none", async () => {
    const dir = temporaryDirectory();
    await invite(dir, { validMs: -1 });
    for (let index = 0; index < 100; index++) await invite(dir);
    await expect(invite(dir)).rejects.toThrow("There are already 100 open invitations");
  });

  test.each([
    ["{", "line 1"],
    ["{}", "array"],
    ['[{"id":"ZZZZ"}]', "[0.verifier]"],
    [`[{"id":"ZZZZ","verifier":"${"0".repeat(64)}","expires":"soon","attempts":0}]`, "[0.expires]"],
    [
      `[{"id":"ZZZZ","verifier":"${"0".repeat(64)}","expires":"2027-01-01T00:00:00Z","attempts":0,"x":1}]`,
      "x",
    ],
  ])("that reads %j opens nothing, and is an error to whoever edits it", async (text, place) => {
    const dir = temporaryDirectory();
    writeFileSync(fileOf(dir), text);
    expect(hasOpenInvitation(dir)).toBe(false);
    await expect(invite(dir)).rejects.toThrow(place);
    await expect(redeemInvitation(dir, "ZZZZ", "0".repeat(64), binding)).rejects.toThrow("invitations.json");
    expect(readFileSync(fileOf(dir), "utf8")).toBe(text);
  });

  test("in a folder that is not there is an error that says what makes it", async () => {
    const dir = join(temporaryDirectory(), "nowhere");
    await expect(invite(dir)).rejects.toThrow("'veripy-server init' creates the directory");
  });

  test.skipIf(process.getuid?.() === 0 || process.platform === "win32")(
    "that cannot be written is an error, and no code is given out",
    async () => {
      const dir = join(temporaryDirectory(), "certs");
      mkdirSync(dir);
      chmodSync(dir, 0o500);
      await expect(invite(dir)).rejects.toThrow("Cannot edit");
    },
  );
});
