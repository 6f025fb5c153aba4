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
  /** The server's name for this client, if the invitation had one. */
  readonly name: string | undefined;
  /** The server already trusted this client's key. Nothing was changed there, and the code is still valid. */
  readonly alreadyTrusted: boolean;
}

/**
 * Redeems an invitation: client and server prove to each other, bound to this TLS connection, that they know the code, and
 * only then is the server's key kept in `known-servers.json`. Creates a client key if there is none. Rejects with
 * `forbidden` when the server does not accept the code, with `untrusted` when the server does not know it, and, before the
 * code is spent, with `bad_config` when the server is not the one of `server.crt`. Nothing is kept then.
 */
export async function join({
  host,
  port,
  certsDir,
  code,
  timeoutMs = 10_000,
}: JoinOptions): Promise<JoinResult> {
  const parsed = parseCode(code);
  // Files that can't be used must be found before the code is spent.
  await checkClientFiles(certsDir);
  const pin = await certificatePin(certsDir);
  const { identity } = await loadOrCreateIdentity(certsDir, "client");
  // Any key is accepted here: the proof decides, and until then the server learns only our public key.
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
        "The server does not accept invitations now: the code has been spent or has expired.",
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

/** The key in `server.crt` takes precedence over any that `join` could keep, so this server would be refused afterwards. */
function otherServer(host: string, port: number, shown: Fingerprint, pin: ServerPin): VeripyError {
  return new VeripyError(
    "bad_config",
    `Cannot join ${host}:${port}: it shows the key ${shown}, but ${pin.source} names the server's key as ` +
      `${pin.fingerprints.join(" or ")} and takes precedence. The code was not spent. If that file belongs to another ` +
      "server, move it away or use another folder with --certs; then run this command again.",
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
    `${host}:${port} trusts this client, but ${pin?.source ?? certsDir}, which takes precedence, names another server's key. Remove it, or use another --certs folder.`,
  );
}
