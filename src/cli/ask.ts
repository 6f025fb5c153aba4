import { createInterface } from "node:readline/promises";

/** Asks on the terminal whether a server's key is the right one. Anything but `yes` is no. */
export async function askServerKey(server: string, fingerprint: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(
      `Nothing here says which key ${server} must show. It shows\n\n  ${fingerprint}\n\n` +
        "Is that what 'veripy-server fingerprint' prints on the server? Type yes to keep it: ",
    );
    return answer.trim().toLowerCase() === "yes";
  } finally {
    terminal.close();
  }
}
