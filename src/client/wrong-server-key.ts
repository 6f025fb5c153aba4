import { VeripyError } from "../base/errors.ts";
import type { UntrustedServerError } from "../tls/connector.ts";
import { knownServersFile, serverName } from "../trust/known-servers.ts";
import { forgetServerCommand, howToTrustInstead } from "../trust/server-pin-advice.ts";
import type { ConnectTarget } from "./connect-target.ts";

/** The error for a server that showed another key than expected: what to compare, and what to do. */
export async function wrongServerKey(
  { certsDir, host, port, expected, source }: ConnectTarget,
  refusal: UntrustedServerError,
): Promise<VeripyError> {
  const name = serverName(host, port);
  const { fingerprint } = refusal;
  const said =
    `${refusal.message} Expected ${expected.join(" or ")} (from ${source}). Either the server has a new key, or this is ` +
    "another server: compare with the output of 'veripy-server fingerprint' on the server.";
  const isEntry = source === knownServersFile(certsDir);
  const forget = isEntry
    ? ` To forget the expected key without accepting this one, run '${forgetServerCommand(certsDir, name)}'.`
    : "";
  const advice = await howToTrustInstead({ certsDir, name, source }, fingerprint);
  return new VeripyError("untrusted", `${said}${forget} ${advice}`, { cause: refusal });
}
