import { expect, test } from "bun:test";
import { parsePasswd, userNameOf } from "../../src/base/passwd.ts";
import { run } from "../helpers/processes.ts";

test("the users are read, and lines of another form are left out", () => {
  const text =
    "root:x:0:0:root:/root:/bin/bash\n# comment\n\nnobody:x:65534:65533::/:\n:x:1:1::/:\nbad:x:-1:1::/:\n+nis\n";
  expect(parsePasswd(text)).toEqual([
    { name: "root", uid: 0, gid: 0 },
    { name: "nobody", uid: 65534, gid: 65533 },
  ]);
});

test.skipIf(process.platform !== "linux")(
  "the name of this user is that of id(1), whatever the environment says",
  async () => {
    const name = (await run(["id", "-un"])).stdout.trim();
    const uid = process.getuid?.() ?? -1;
    expect(await userNameOf(uid)).toBe(name);
    expect(await userNameOf(4_000_000_001)).toBeUndefined();
  },
);
