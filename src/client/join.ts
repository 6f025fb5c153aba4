import { VeripyError } from "../base/errors.ts";
import { defaultLimits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { loadOrCreateIdentity } from "../identity/identity.ts";
import {
  exporterBytes,
  exporterLabel,
  isProof,
  parseCode,
  proofOf,
  verifierOf,
} from "../identity/invitation-code.ts";
import { keepKnownServer, resolveServerPin } from "../identity/known-servers.ts";
import { Channel } from "../protocol/channel.ts";
import { joinProtocol, joinResponse, parseAnswer } from "../protocol/messages.ts";
import { connectTls } from "../tls/connector.ts";

export interface JoinOptions {
  host: string;
  port: number;
  certsDir: string;
  /** As `veripy-server invite` printed it. */
  code: string;
  timeoutMs?: number;
}

export interface JoinResult {
  readonly client: Fingerprint;
  readonly server: Fingerprint;
  /** What the server calls this client, if the invitation had a name. */
  readonly name: string | undefined;
}

/**
 * Redeems an invitation: proves the code to the server over this very TLS connection, has the server prove it too,
 * and only then keeps the server's key in `known-servers.json`. Makes a client key when there is none. Rejects with
 * `forbidden` for a code that the server does not accept, and with `untrusted` for a server that does not know the
 * code; nothing is kept then.
 */
export async function join({
  host,
  port,
  certsDir,
  code,
  timeoutMs = 10_000,
}: JoinOptions): Promise<JoinResult> {
  const parsed = parseCode(code);
  const { identity } = await loadOrCreateIdentity(certsDir, "client");
  // Whose key it is, is what the proof decides; until then the server learns nothing but our public key.
  const peer = await connectTls({
    host,
    port,
    identity,
    isExpected: () => true,
    timeoutMs,
    protocol: joinProtocol,
  });
  const binding = {
    exporter: peer.exportKeyingMaterial(exporterBytes, exporterLabel),
    client: identity.fingerprint,
    server: peer.fingerprint,
  };
  const verifier = verifierOf(parsed);
  const channel = new Channel(peer.duplex, {
    maxLineBytes: defaultLimits.maxLineBytes,
    onFrame: () => {},
    onClosed: () => {},
  });
  try {
    const request = JSON.stringify({ id: parsed.id, proof: proofOf("client", verifier, binding) });
    const frame = await channel.request("sys", "join", request, { timeoutMs }).catch((error: VeripyError) => {
      if (error.code !== "closed" && error.code !== "unreachable") throw error;
      throw new VeripyError(
        "forbidden",
        "The server takes no invitations now: the code is spent or has expired.",
        {
          cause: error,
        },
      );
    });
    const answer = parseAnswer(joinResponse, frame.json);
    if (!isProof(answer.proof, "server", verifier, binding)) {
      throw new VeripyError(
        "untrusted",
        "The server did not prove that it knows the code. Its key was not kept.",
      );
    }
    await keepServer(certsDir, host, port, peer.fingerprint);
    return { client: identity.fingerprint, server: peer.fingerprint, name: answer.name ?? undefined };
  } finally {
    channel.close();
  }
}

async function keepServer(
  certsDir: string,
  host: string,
  port: number,
  fingerprint: Fingerprint,
): Promise<void> {
  await keepKnownServer(certsDir, host, port, fingerprint);
  const pin = await resolveServerPin({ certsDir, host, port });
  if (pin?.fingerprints.includes(fingerprint)) return;
  throw new VeripyError(
    "bad_config",
    `Joined ${host}:${port}, but ${pin?.source ?? certsDir} names another server's key and comes first. Remove it, or use another --certs folder.`,
  );
}
