import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { certsFolder, findHome, findLock, makeHome } from "../../src/client/client-home.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

// The working directory is one of the places where files are looked for.
const startedIn = process.cwd();
let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeEach(async () => {
  folder = await temporaryDirectory();
  process.chdir(folder.path);
});
afterEach(async () => {
  process.chdir(startedIn);
  await folder[Symbol.asyncDispose]();
});

async function put(path: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, "");
}

describe("the home", () => {
  test("is the one that is given, whatever the working directory has", async () => {
    await put("certs/client.key");
    expect(await findHome("/elsewhere", "/config")).toBe("/elsewhere");
  });

  test("is the working directory if it has certs/client.key", async () => {
    await put("certs/client.key");
    expect(await findHome(undefined, "/config")).toBe(".");
    expect(certsFolder(".")).toBe("./certs");
  });

  test.each([[[]], [["certs/server.key"]], [["client.key"]], [["veripy.lock", "veripy.toml"]], [["certs"]]])(
    "is in the folder of settings if the working directory has only %j",
    async (files) => {
      for (const file of files) await put(file);
      expect(await findHome(undefined, "/config")).toBe(join("/config", "veripy"));
      expect(certsFolder("/config/veripy")).toBe(join("/config/veripy", "certs"));
    },
  );

  test.skipIf(process.getuid?.() === 0)("is not guessed where the key can't be looked for", async () => {
    await mkdir("certs", { mode: 0 });
    await expect(findHome(undefined, "/config")).rejects.toMatchObject({
      code: "bad_config",
      message:
        "Cannot tell whether certs/client.key exists: permission denied. Name the client's home with --home.",
    });
  });

  test.skipIf(process.platform === "win32")(
    "is made for its owner alone, and left as it is later",
    async () => {
      await makeHome("config/home");
      expect((await stat("config/home")).mode & 0o777).toBe(0o700);
      await mkdir("open", { mode: 0o755 });
      await makeHome("open");
      expect((await stat("open")).mode & 0o777).toBe(0o755);
    },
  );

  test("that can't be made is an error", async () => {
    await put("file");
    await expect(makeHome("file/home")).rejects.toMatchObject({ code: "bad_identity" });
  });
});

describe("the lock", () => {
  const home = "home";

  test("is the home's, unless the working directory has one", async () => {
    expect(await findLock({ home, given: undefined })).toBe(join(home, "veripy.lock"));
    await put("veripy.lock");
    expect(await findLock({ home, given: undefined })).toBe("veripy.lock");
  });

  test("is the one that is given, which must exist unless a decision creates it", async () => {
    await put("veripy.lock");
    await expect(findLock({ home, given: "other.lock" })).rejects.toMatchObject({
      code: "bad_config",
      message:
        "Cannot use the lock other.lock: it does not exist. 'veripy-client approve' and 'veripy-client deny' create it.",
    });
    expect(await findLock({ home, given: "other.lock", mayBeMissing: true })).toBe("other.lock");
    await put("other.lock");
    expect(await findLock({ home, given: "other.lock" })).toBe("other.lock");
  });

  test("is none where none is wanted", async () => {
    await put("veripy.lock");
    expect(await findLock({ home, given: false })).toBeUndefined();
  });
});
