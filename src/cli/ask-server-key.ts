import type { ConnectOptions } from "../index.ts";
import { text } from "./text.ts";
import { ask, canAsk } from "./ui.ts";

export interface ServerKeyFlags {
  host: string;
  port: number;
  serverFingerprint?: string;
  /** Undefined: ask, where a person can answer. */
  remember?: boolean;
  /** Standard input was read to its end, so it has no answer to a question. */
  stdin?: boolean;
  json?: boolean;
}

type ServerKeyOptions = Pick<ConnectOptions, "serverFingerprint" | "confirmServer" | "rememberServer">;

/** Which key to expect from a server that no file names one of, and what to ask about it. */
export function serverKeyOptions(given: ServerKeyFlags): ServerKeyOptions {
  const options: ServerKeyOptions = {};
  if (given.serverFingerprint !== undefined) options.serverFingerprint = given.serverFingerprint;
  if (given.remember !== undefined) options.rememberServer = given.remember;
  if (canAsk() && !given.json && !given.stdin) {
    const server = `${given.host}:${given.port}`;
    options.confirmServer = (fingerprint) => askServerKey(server, fingerprint);
    options.rememberServer ??= () => askToRemember(server);
  }
  return options;
}

/** Asks on the terminal whether a server's key is the right one. Anything but `yes` is no. */
async function askServerKey(server: string, fingerprint: string): Promise<boolean> {
  const answer = await ask(text`Nothing here says which key ${server} must show. It shows

  ${fingerprint}

Is that what 'veripy-server fingerprint' prints on the server? Type yes to keep it: `);
  return answer.trim().toLowerCase() === "yes";
}

/** Asks whether to keep the key that --server-fingerprint named and the server has shown. */
async function askToRemember(server: string): Promise<boolean> {
  const answer = await ask(
    text`The server at ${server} has the key that --server-fingerprint names.
Remember it, so that you no longer need the option? (yes/no): `,
  );
  return ["yes", "y"].includes(answer.trim().toLowerCase());
}
