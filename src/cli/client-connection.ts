import {
  checkClientFiles,
  connect,
  didYouMean,
  findLock,
  type VeripyClient,
  VeripyError,
  watchModules,
} from "../index.ts";
import { serverKeyOptions } from "./ask-server-key.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { logStep, startLogs } from "./logs.ts";
import { note } from "./ui.ts";
import { nextKeyText } from "./watch-text.ts";

export interface ClientUse {
  reconnect?: boolean;
  /** For a command that looks at modules or decides about them: the lock does not keep it from a server. */
  ignoresLocked?: boolean;
  /** For a command that writes decisions: a `--lock` that does not exist is created. */
  createsLock?: boolean;
  /** Whether a person may be asked about the server's key. Default: true. */
  mayAsk?: boolean;
}

/** Connects, lets `use` work with the client, and closes the connection. */
export async function withClient(
  given: ClientOptions,
  use: (client: VeripyClient) => Promise<void> | void,
  clientUse: ClientUse = {},
): Promise<void> {
  const client = await open(given, clientUse);
  client.on("news", (news) => {
    if (news.kind === "rotate") note`${nextKeyText(news.fingerprint)}`;
    else if (news.kind === "rotate_refused") note`${news.error}`;
  });
  try {
    await use(client);
  } finally {
    await client.approvals.settled();
    client.close();
  }
}

/** The same for modules that a person named. If one does not exist, the error suggests names that do. */
export function withModules(
  given: ClientOptions,
  mods: readonly string[],
  use: (client: VeripyClient) => Promise<void>,
  clientUse?: ClientUse,
): Promise<void> {
  const suggesting = async (client: VeripyClient) => {
    try {
      await use(client);
    } catch (error) {
      if (!(error instanceof VeripyError) || error.code !== "not_found") throw error;
      const names = [...client.reports.keys()];
      const suggestions = mods.filter((mod) => !names.includes(mod)).map((mod) => didYouMean(mod, names));
      const message = [error.message, ...suggestions].join(" ").trimEnd();
      throw new VeripyError("not_found", message, { cause: error });
    }
  };
  return withClient(given, suggesting, clientUse);
}

/** Shows every change until a signal ends the program. Rejects when the connection ends for good. */
export async function watch(given: ClientOptions): Promise<never> {
  const client = await open(given, { reconnect: true });
  const output = new ClientOutput(given.json, client.approvals, { times: true });
  output.connected(`${given.host}:${given.port}`, client.serverFingerprint);
  const closed = new Promise<VeripyError>((resolve) => client.once("closed", resolve));
  await watchModules(client, (event) => output.event(event));
  throw await closed;
}

/** Says where a server's key was saved, if it was. */
export function noteRemembered(file: string | undefined): void {
  if (file !== undefined) note`Saved the server's key in ${file}.`;
}

/** Prints warnings about files in the `--certs` folder that others can change. */
export async function warnOfClientFiles(certs: string): Promise<void> {
  for (const warning of await checkClientFiles(certs)) note`${warning}`;
}

async function open(given: ClientOptions, clientUse: ClientUse): Promise<VeripyClient> {
  await prepareConnections(given);
  return openClient(given, clientUse);
}

/** To call once before `openClient`: starts the log, and prints warnings. */
export async function prepareConnections(given: ClientOptions): Promise<void> {
  await startLogs(given);
  await warnOfClientFiles(given.certs);
}

/** Connects. The caller closes the client. */
export async function openClient(
  given: ClientOptions,
  { reconnect = false, ignoresLocked = false, createsLock = false, mayAsk = true }: ClientUse,
): Promise<VeripyClient> {
  const lock = await findLock({ home: given.home, given: given.lock, mayBeMissing: createsLock });
  logPlaces(given, lock);
  const connecting = connect({
    home: given.home,
    locked: given.locked,
    decide: ignoresLocked,
    ...(lock === undefined ? {} : { lock }),
    ...signerOptions(given),
    host: given.host,
    port: given.port,
    certsDir: given.certs,
    timeoutMs: given.connectTimeout,
    keepaliveMs: given.keepalive,
    reconnect,
    ...serverKeyOptions(given, mayAsk),
  });
  const client = await connecting.catch((error) => {
    throw withHint(error, given.hostHint);
  });
  noteRemembered(client.rememberedIn);
  return client;
}

/** The first steps of `--verbose`: what the command works with. */
function logPlaces({ home, certs, fromFile }: ClientOptions, lock: string | undefined): void {
  logStep("Home {home}, keys in {certs}, lock {lock}.", { home, certs, lock: lock ?? "none" });
  logStep("Settings from a file: {settings}.", { settings: fromFile.length === 0 ? "none" : fromFile });
}

function signerOptions({ signers, signer }: ClientOptions): { signers?: string; signer?: string } {
  if (signer !== undefined && signers === undefined)
    throw new VeripyError(
      "bad_config",
      "--signer names one of the signers, and nothing says who they are. Add --signers FILE.",
    );
  return { ...(signers === undefined ? {} : { signers }), ...(signer === undefined ? {} : { signer }) };
}

/** A host that can't be reached may have been meant as a name of the settings file. */
function withHint(error: unknown, hint: string): unknown {
  if (hint === "" || !(error instanceof VeripyError) || error.code !== "unreachable") return error;
  return new VeripyError(error.code, `${error.message} ${hint}`, { cause: error });
}
