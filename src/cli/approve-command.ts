import { type VerifiedModule, type VeripyClient, VeripyError } from "../index.ts";
import { shortTree } from "./approval-text.ts";
import { withModules } from "./client-connection.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { noLock } from "./decision-commands.ts";
import { noteOtherKey } from "./diff-command.ts";
import { differenceLines } from "./difference-output.ts";
import { notEnforced, noteNotEnforced } from "./enforcement-note.ts";
import { printVersion } from "./show-command.ts";
import { text } from "./text.ts";
import { askBelow, canAskBelow, exitCodes, note, print, printAll, printJson } from "./ui.ts";

export interface ApproveFlags {
  yes?: boolean;
  tree?: string;
  note?: string;
}

/**
 * Approves modules: after a person has seen what is new and said yes, or, with `--yes`, exactly the tree that was given.
 * Resolves with the exit code.
 */
export async function approve(
  given: ClientOptions,
  mods: readonly string[],
  own: ApproveFlags,
): Promise<number> {
  checkUsage(given, mods, own);
  let exitCode: number = exitCodes.ok;
  const use = async (client: VeripyClient) => {
    const names = await toDecide(client, mods);
    if (names.length > 0) noteNotEnforced(await notEnforced(client));
    const session = new ApproveSession(client, given.json ?? false, own);
    for (const name of names) if (!(await session.decide(name))) break;
    exitCode = session.exitCode;
  };
  await withModules(given, mods, use, { ignoresLocked: true, createsLock: true });
  return exitCode;
}

function checkUsage(
  { json = false, lock }: ClientOptions,
  mods: readonly string[],
  { yes = false, tree }: ApproveFlags,
): void {
  if (lock === false) throw noLock();
  if (tree !== undefined && mods.length !== 1)
    throw usage("--tree is the tree of one module: name exactly one.");
  if (yes && tree === undefined)
    throw usage("--yes approves without asking, so it needs the tree that was looked at: --yes --tree HASH.");
  if (yes) return;
  const inScript = "In a script, name what was looked at: veripy-client approve MOD --yes --tree HASH";
  if (json) throw usage(`Approving asks, which --json does not. ${inScript}`);
  if (!canAskBelow())
    throw usage(`Approving asks, so standard input and standard output must be terminals. ${inScript}`);
}

/** The named modules, or all that are pending or not decided. */
async function toDecide(client: VeripyClient, mods: readonly string[]): Promise<string[]> {
  if (mods.length > 0) return [...new Set(mods.map((mod) => client.approvals.nameOf(mod)))];
  // States are judged by the report alone, which a verification then compares with the bytes.
  const states = [...client.reports.keys()].map((mod) => ({ mod, ...client.approvals.of(mod) }));
  const wanted = states
    .filter(({ state }) => state === "pending" || state === "not approved")
    .map(({ mod }) => mod);
  const denied = states.flatMap(({ mod, state }) => (state === "denied" ? [mod] : []));
  if (wanted.length === 0) note`Nothing to approve.`;
  if (denied.length > 0) note`Denied: ${denied.join(", ")}. To approve one after all, name it.`;
  return wanted.sort();
}

/** One run of `approve`. */
class ApproveSession {
  readonly #client: VeripyClient;
  readonly #json: boolean;
  readonly #own: ApproveFlags;
  exitCode: number = exitCodes.ok;

  constructor(client: VeripyClient, json: boolean, own: ApproveFlags) {
    this.#client = client;
    this.#json = json;
    this.#own = own;
  }

  /** Resolves with whether to go on with the next module. */
  async decide(name: string): Promise<boolean> {
    const { yes = false, tree } = this.#own;
    const verdict = await this.#client.verify(name);
    if (!verdict.verified) {
      new ClientOutput(this.#json).verdict(verdict);
      this.exitCode = exitCodes.notVerified;
      return true;
    }
    if (tree !== undefined && verdict.tree !== tree) throw otherTree(verdict, tree);
    const { state } = this.#client.approvals.judge(verdict);
    if (state === "approved" && this.#own.note === undefined) {
      this.#report(verdict, "is already approved");
      return true;
    }
    const answer = yes ? "y" : await this.#ask(verdict);
    // The very object that was shown, whatever the server has now.
    if (answer === "y") await this.#approve(verdict);
    return answer !== "q";
  }

  async #ask(verdict: VerifiedModule): Promise<"y" | "n" | "q"> {
    for (let isSeen = false; ; ) {
      if (!isSeen) await this.#show(verdict);
      isSeen = true;
      const question = text`Approve ${verdict.mod}, ${shortTree(verdict.tree)}? (y/n/s/q) `;
      switch ((await askBelow(question)).trim().toLowerCase()) {
        case "y":
        case "yes":
          return "y";
        // Also the end of input.
        case "":
        case "n":
        case "no":
          return "n";
        case "q":
        case "quit":
          return "q";
        case "s":
        case "show":
          isSeen = false;
          break;
        default:
          print`y  approve exactly this version\nn  leave it as it is\ns  show it again\nq  quit, and leave the rest as it is`;
      }
    }
  }

  async #show(verdict: VerifiedModule): Promise<void> {
    const difference = await this.#client.approvals.difference(verdict.mod, verdict);
    if (difference.before !== undefined) printAll(differenceLines(difference));
    // What is approved was shown: without the approved source there is no difference to show, so all of it is.
    const isWhole = difference.files.every(({ patch }) => patch !== undefined);
    if (difference.before === undefined || !isWhole) printVersion(verdict, difference.approval);
    noteOtherKey(difference);
    print``;
  }

  async #approve(verdict: VerifiedModule): Promise<void> {
    const { approvals, reports } = this.#client;
    const { isGoverned } = approvals;
    await approvals.approve(verdict, { note: this.#own.note });
    this.#report(verdict, "is approved");
    if (!isGoverned) note`From now on, only approved modules of this server run.`;
    const report = reports.get(verdict.mod);
    if (report === undefined) note`${verdict.mod}: the server has removed it meanwhile.`;
    else if ((report.tree ?? verdict.tree) !== verdict.tree || report.sum !== verdict.sum)
      note`${verdict.mod}: it has changed on the server meanwhile. What you saw is approved; the new version is pending.`;
  }

  #report({ mod, tree }: VerifiedModule, what: string): void {
    const lock = this.#client.approvals.lockFile;
    if (this.#json) printJson({ mod, tree, state: "approved", lock });
    else print`${mod} ${what}: ${tree}`;
  }
}

function otherTree({ mod, tree: current }: VerifiedModule, tree: string): VeripyError {
  return new VeripyError(
    "not_approved",
    `${mod} was not approved: the server runs the tree ${current}, not ${tree}. See the difference with 'veripy-client diff ${mod}'.`,
  );
}

function usage(message: string): VeripyError {
  return new VeripyError("bad_config", message);
}
