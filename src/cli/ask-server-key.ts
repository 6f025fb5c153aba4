import type { ConnectOptions } from "../index.ts";
import { text } from "./text.ts";
import { ask, canAsk } from "./ui.ts";

export interface ServerKeyFlags {
  host: string;
  port: number;
  serverFingerprint?: string;
  /** Undefined: ask, if a person can answer. */
  remember?: boolean;
  /** Standard input holds the arguments, so it cannot answer a question. */
  stdin?: boolean;
  json?: boolean;
}

type ServerKeyOptions = Pick<ConnectOptions, "serverFingerprint" | "confirmServer" | "rememberServer">;

/** Which key to accept from a server that no file gives a key for, and the questions about it. */
export function serverKeyOptions(given: ServerKeyFlags, mayAsk = true): ServerKeyOptions {
  const options: ServerKeyOptions = {};
  if (given.serverFingerprint !== undefined) options.serverFingerprint = given.serverFingerprint;
  if (given.remember !== undefined) options.rememberServer = given.remember;
  if (mayAsk && canAsk() && !given.json && !given.stdin) {
    const server = `${given.host}:${given.port}`;
    options.confirmServer = (fingerprint) => askServerKey(server, fingerprint);
    options.rememberServer ??= () => askToRemember(server);
  }
  return options;
}

/** Asks on the terminal whether a server's key is the right one. Anything but `yes` means no. */
async function askServerKey(server: string, fingerprint: string): Promise<boolean> {
  const answer = await ask(text`The key of ${server} is not known yet. Its fingerprint is

  ${fingerprint}

Does 'veripy-server fingerprint' print the same on the server? Type yes to trust it: `);
  return answer.trim().toLowerCase() === "yes";
}

/** Asks whether to save the key that --server-fingerprint gave and the server has. */
async function askToRemember(server: string): Promise<boolean> {
  const answer = await ask(
    text`The key of ${server} is the one given by --server-fingerprint.
Save it, so that you no longer need that flag? (yes/no): `,
  );
  return ["yes", "y"].includes(answer.trim().toLowerCase());
}
