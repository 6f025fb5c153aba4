import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VeripyError } from "../../src/base/errors.ts";
import { checkClientFiles, checkServerFiles } from "../../src/base/file-modes.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { resolveServerPin, setKnownServer } from "../../src/trust/known-servers.ts";
import {
  addTrustedKey,
  parseTrustedKeys,
  removeTrustedKey,
  watchTrustedKeys,
} from "../../src/trust/trusted-keys.ts";
import { trustText } from "../helpers/keys.ts";
import { eventually } from "../helpers/within.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const [alice, bob, mallory] = ["a", "b", "c"].map((digit) => digit.repeat(64)) as [
  Fingerprint,
  Fingerprint,
  Fingerprint,
];

/** A server's folder, with a space in its path. */
function project(): { dir: string; certs: string; trusted: string } {
  const dir = join(temporaryDirectory(), "my server");
  const certs = join(dir, "certs");
  mkdirSync(certs, { recursive: true });
  for (const name of ["invitations.json", "known-servers.json", "server.crt"])
    writeFileSync(join(certs, name), "");
  const trusted = join(dir, "trusted-keys.json");
  writeFileSync(trusted, trustText(alice, bob));
  for (const path of [dir, certs]) chmodSync(path, 0o755);
  return { dir, certs, trusted };
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof VeripyError)) throw new Error(`expected a VeripyError, got ${String(error)}`);
  expect(error.code).toBe("bad_identity");
  return error.message;
}

describe.skipIf(process.platform === "win32")("a server's files", () => {
  const check = ({ certs, trusted }: { certs: string; trusted: string }) => checkServerFiles(certs, trusted);

  test("are fine as 'init' makes them, and when they are not there", async () => {
    expect(await check(project())).toEqual([]);
    expect(await checkServerFiles("/nowhere/certs", "/nowhere/trusted-keys.json")).toEqual([]);
  });

  test.each(["certs", "certs/invitations.json", "trusted-keys.json", "."])(
    "are refused when everyone may write %s, until the command in the message was typed",
    async (name) => {
      const here = project();
      const path = join(here.dir, name);
      const mode = statSync(path).mode;
      chmodSync(path, mode | 0o002);
      const said = await refusal(check(here));
      expect(said).toContain("every user of this machine can write to it");
      const [command = ""] = /chmod .*$/.exec(said) ?? [];
      expect(command).toBe(`chmod o-w '${path}'`);
      Bun.spawnSync(["sh", "-c", command]);
      expect(await check(here)).toEqual([]);
      expect(statSync(path).mode).toBe(mode);
    },
  );

  test.each(["certs", "certs/invitations.json", "trusted-keys.json"])(
    "bring a warning when a group may write %s, with the command that corrects it",
    async (name) => {
      const here = project();
      const path = join(here.dir, name);
      chmodSync(path, statSync(path).mode | 0o020);
      expect(await check(here)).toEqual([
        expect.stringMatching(/Every member of its group can write to .*chmod g-w '.*'$/),
      ]);
    },
  );

  test("may stand in a folder like /tmp, where nobody can replace the files of others", async () => {
    const here = project();
    chmodSync(here.dir, 0o1777);
    expect(await check(here)).toEqual([]);
    // The folder of keys itself may not be one: what is missing in it, others could add.
    chmodSync(here.certs, 0o1777);
    expect(await refusal(check(here))).toContain(`chmod o-w '${here.certs}'`);
  });

  test("are looked at where a symbolic link leads to", async () => {
    const [here, real] = [project(), project()];
    const link = join(here.dir, "link.json");
    symlinkSync(real.trusted, link);
    expect(await checkServerFiles(here.certs, link)).toEqual([]);
    chmodSync(real.dir, 0o777);
    expect(await refusal(checkServerFiles(here.certs, link))).toContain(`chmod o-w '${real.dir}'`);
  });
});

describe.skipIf(process.platform === "win32")("a client's files", () => {
  test.each(["certs", "certs/known-servers.json", "certs/server.crt"])(
    "are refused when everyone may write %s, for reading and for writing",
    async (name) => {
      const { dir, certs } = project();
      const path = join(dir, name);
      chmodSync(path, statSync(path).mode | 0o002);
      const server = { certsDir: certs, host: "example", port: 8443 };
      for (const use of [
        () => checkClientFiles(certs),
        () => resolveServerPin(server),
        () => setKnownServer(certs, "example", 8443, [alice]),
      ]) {
        expect(await refusal(use())).toEndWith(`chmod o-w '${path}'`);
      }
      expect(readFileSync(join(certs, "known-servers.json"), "utf8")).toBe("");
    },
  );
});

describe.skipIf(process.platform === "win32")("a trust file that everyone may write", () => {
  test("takes no new key", async () => {
    const { trusted } = project();
    chmodSync(trusted, 0o666);
    expect(await refusal(addTrustedKey(trusted, mallory))).toContain(`chmod o-w '${trusted}'`);
    expect(readFileSync(trusted, "utf8")).toBe(trustText(alice, bob));
  });

  test("can still be used to revoke, and is corrected and reported by that", async () => {
    const { trusted } = project();
    chmodSync(trusted, 0o666);
    const { changed, warning } = await removeTrustedKey(trusted, alice);
    expect(changed).toBe(true);
    expect(warning).toContain("check the remaining entries");
    expect(readFileSync(trusted, "utf8")).toBe(trustText(bob));
    expect(statSync(trusted).mode & 0o002).toBe(0);
    expect(await removeTrustedKey(trusted, bob)).toEqual({ changed: true });
  });

  test("while a server runs is reported, the last good one stands, and a revocation counts", async () => {
    const { trusted } = project();
    const errors: string[] = [];
    let sizes: number[] = [];
    const watch = watchTrustedKeys(trusted, {
      current: parseTrustedKeys(trustText(alice, bob)),
      onChange: ({ size }) => sizes.push(size),
      onError: ({ message }) => errors.push(message),
    });
    try {
      chmodSync(trusted, 0o666);
      writeFileSync(trusted, trustText(alice, bob, mallory));
      await eventually("the report", () => errors.length > 0, 1_000);
      expect(errors[0]).toContain(`chmod o-w '${trusted}'`);
      expect(sizes).toEqual([]);
      await removeTrustedKey(trusted, mallory);
      await removeTrustedKey(trusted, alice);
      await eventually("the revocation", () => sizes.at(-1) === 1, 1_000);
      sizes = [];
      writeFileSync(trusted, trustText(bob, mallory));
      await eventually("the file to count again", () => sizes.at(-1) === 2, 1_000);
      expect(errors).toHaveLength(1);
    } finally {
      watch.close();
    }
  });
});
