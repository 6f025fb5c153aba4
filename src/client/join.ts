import { VeripyError } from "../base/errors.ts";
import { checkClientFiles } from "../base/file-modes.ts";
import { defaultLimits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { loadOrCreateIdentity } from "../identity/identity.ts";
import { Channel } from "../protocol/channel.ts";
import { joinProtocol, joinResponse, parseAnswer } from "../protocol/messages.ts";
import { connectTls } from "../tls/connector.ts";
import {
  exporterBytes,
  exporterLabel,
  isProof,
  parseCode,
  proofOf,
  verifierOf,
} from "../trust/invitation-code.ts";
import { certificatePin, keepKnownServer, resolveServerPin, type ServerPin } from "../trust/known-servers.ts";

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
  /** The server trusted this client's key before. Nothing was changed there, and the code is still good. */
  readonly alreadyTrusted: boolean;
}

/**
 * Redeems an invitation: proves the code to the server over this very TLS connection, has the server prove it too,
 * and only then keeps the server's key in `known-servers.json`. Makes a client key when there is none. Rejects with
 * `forbidden` for a code that the server does not accept, with `untrusted` for a server that does not know the code, and
 * with `bad_config`, before the code is shown to it, for a server other than that of `server.crt`; nothing is kept then.
 */
export async function join({
  host,
  port,
  certsDir,
  code,
  timeoutMs = 10_000,
}: JoinOptions): Promise<JoinResult> {
  const parsed = parseCode(code);
  // Before the code is spent.
  await checkClientFiles(certsDir);
  const pin = await certificatePin(certsDir);
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
  if (pin !== undefined && !pin.fingerprints.includes(peer.fingerprint)) {
    peer.duplex.close();
    throw otherServer(host, port, peer.fingerprint, pin);
  }
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
    return {
      client: identity.fingerprint,
      server: peer.fingerprint,
      name: answer.name ?? undefined,
      alreadyTrusted: answer.already_trusted ?? false,
    };
  } finally {
    channel.close();
  }
}

/** The key of `server.crt` comes before any that `join` could keep, so the joined server would be refused. */
function otherServer(host: string, port: number, shown: Fingerprint, pin: ServerPin): VeripyError {
  return new VeripyError(
    "bad_config",
    `Cannot join ${host}:${port}: it shows the key ${shown}, but ${pin.source} names the server's key as ` +
      `${pin.fingerprints.join(" or ")}, and comes first. The code was not spent. If that file is of another server, ` +
      "move it away, or give this one a folder of its own with --certs; then run this again.",
  );
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
    `${host}:${port} trusts this client, but ${pin?.source ?? certsDir} names another server's key and comes first. Remove it, or use another --certs folder.`,
  );
}
