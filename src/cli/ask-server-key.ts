import { text } from "./text.ts";
import { ask } from "./ui.ts";

/** Asks on the terminal whether a server's key is the right one. Anything but `yes` means no. */
export async function askServerKey(server: string, fingerprint: string): Promise<boolean> {
  const answer = await ask(text`The key of ${server} is not known yet. Its fingerprint is

  ${fingerprint}

Does 'veripy-server fingerprint' print the same on the server? Type yes to trust it: `);
  return answer.trim().toLowerCase() === "yes";
}

/** Asks whether to save the key that --server-fingerprint gave and the server has. */
export async function askToRemember(server: string): Promise<boolean> {
  const answer = await ask(
    text`The key of ${server} is the one given by --server-fingerprint.
Save it, so that you no longer need that flag? (yes/no): `,
  );
  return ["yes", "y"].includes(answer.trim().toLowerCase());
}
