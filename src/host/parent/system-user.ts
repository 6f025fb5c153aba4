import { VeripyError } from "../../base/errors.ts";
import { type PasswdEntry, readPasswd } from "../../base/passwd.ts";
import { reasonOf } from "../../base/plain-reason.ts";

/**
 * The user and group to run modules as: a name of `/etc/passwd`, or `uid` or `uid:gid` as numbers (the group
 * defaults to the user's number). Throws `bad_config` for an unknown name. Users that only a directory service
 * knows have to be given by number.
 */
export async function findSystemUser(user: string): Promise<{ uid: number; gid: number }> {
  const numbers = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(user);
  if (numbers !== null) return { uid: Number(numbers[1]), gid: Number(numbers[2] ?? numbers[1]) };
  const entry = (await users()).find(({ name }) => name === user);
  if (entry !== undefined) return { uid: entry.uid, gid: entry.gid };
  throw new VeripyError(
    "bad_config",
    `Cannot run modules as '${user}': there is no such user in /etc/passwd. Give a name from there, or UID:GID as numbers.`,
  );
}

async function users(): Promise<PasswdEntry[]> {
  try {
    return await readPasswd();
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read /etc/passwd: ${reasonOf(error)}.`, { cause: error });
  }
}
