import { text } from "./text.ts";
import { ask } from "./ui.ts";

/** Asks on the terminal whether a server's key is the right one. Anything but `yes` is no. */
export async function askServerKey(server: string, fingerprint: string): Promise<boolean> {
  const answer = await ask(text`Nothing here says which key ${server} must show. It shows

  ${fingerprint}

Is that what 'veripy-server fingerprint' prints on the server? Type yes to keep it: `);
  return answer.trim().toLowerCase() === "yes";
}

/** Asks whether to keep the key that --server-fingerprint named and the server has shown. */
export async function askToRemember(server: string): Promise<boolean> {
  const answer = await ask(
    text`The server at ${server} has the key that --server-fingerprint names.
Remember it, so that you no longer need the option? (yes/no): `,
  );
  return ["yes", "y"].includes(answer.trim().toLowerCase());
}
