import { readTextIfThere } from "./files.ts";

const maxBytes = 4 * 1024 * 1024;

/** A user in `/etc/passwd`. */
export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The users in `/etc/passwd`; none where there is no such file. Throws the system error when it can't be read. */
export async function readPasswd(): Promise<PasswdEntry[]> {
  return parsePasswd((await readTextIfThere("/etc/passwd", maxBytes)) ?? "");
}

/** passwd(5): `name:password:UID:GID:comment:directory:shell`. Lines of another form are left out. */
export function parsePasswd(text: string): PasswdEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , uid = "", gid = ""] = line.split(":");
    if (name === "" || !/^\d+$/.test(uid) || !/^\d+$/.test(gid)) return [];
    return [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}

/** The name of a user; undefined for one that `/etc/passwd` does not have. */
export async function userNameOf(uid: number): Promise<string | undefined> {
  const users = await readPasswd().catch(() => []);
  return users.find((user) => user.uid === uid)?.name;
}
