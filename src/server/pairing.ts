import { type Deadline, deadlines } from "../base/deadlines.ts";
import { messageOf, VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { exporterBytes, exporterLabel } from "../identity/invitation-code.ts";
import { hasOpenInvitation, redeemInvitation } from "../identity/invitations.ts";
import { addTrustedKey } from "../identity/trusted-keys.ts";
import { Channel } from "../protocol/channel.ts";
import type { Frame } from "../protocol/frame.ts";
import { errorPayload, joinProtocol, joinRequest, parsePayload } from "../protocol/messages.ts";
import type { StrangerOptions } from "../tls/listener.ts";
import type { Peer } from "../tls/peer.ts";
import type { PeerLabel } from "./observer.ts";

const log = loggerOf("trust");

/** What a stranger may cost: one short line, for a short time, and not many of them at once. */
const maxLineBytes = 1024;
const maxStrangers = 16;

export interface PairingOptions {
  readonly certsDir: string;
  readonly trustedKeysPath: string;
  /** From a stranger's handshake to the end of its connection. */
  readonly withinMs: number;
  /** The server's own key. */
  fingerprint(): Fingerprint;
  /** Resolves when the server goes by the trust file as it is now. */
  reloadTrust(): Promise<void>;
  /** A stranger was let in, or had a wrong code. */
  onJoined(peer: PeerLabel): void;
  onWrongCode(peer: { readonly fingerprint: Fingerprint; readonly address: string }): void;
}

/**
 * Lets clients in that know a one-time code: `sys:join:R {"id","proof"}` is answered with
 * `sys:join_resp:R {"proof","name"?}`, the client's key is trusted from then on, and the code is spent.
 */
export class Pairing implements StrangerOptions {
  readonly protocol = joinProtocol;
  readonly #options: PairingOptions;
  readonly #strangers = new Set<Stranger>();

  constructor(options: PairingOptions) {
    this.#options = options;
  }

  mayEnter(): boolean {
    return this.#strangers.size < maxStrangers && hasOpenInvitation(this.#options.certsDir);
  }

  onPeer(peer: Peer): void {
    const stranger = new Stranger(peer, this.#options, () => this.#strangers.delete(stranger));
    this.#strangers.add(stranger);
  }

  close(): void {
    for (const stranger of this.#strangers) stranger.close();
  }
}

/** One connection of a client that is not trusted yet. It has one attempt. */
class Stranger {
  readonly #peer: Peer;
  readonly #options: PairingOptions;
  readonly #channel: Channel;
  readonly #deadline: Deadline;
  #hasTried = false;

  constructor(peer: Peer, options: PairingOptions, onClosed: () => void) {
    this.#peer = peer;
    this.#options = options;
    this.#channel = new Channel(peer.duplex, {
      maxLineBytes,
      onFrame: (frame) => void this.#try(frame),
      onClosed: () => {
        this.#deadline.disarm();
        onClosed();
      },
    });
    this.#deadline = deadlines.arm(this, options.withinMs);
  }

  expire(): void {
    this.#channel.abort(new VeripyError("timeout", `Did not join within ${this.#options.withinMs} ms.`));
  }

  close(): void {
    this.#channel.close();
  }

  async #try(frame: Frame): Promise<void> {
    if (this.#hasTried) return;
    this.#hasTried = true;
    this.#channel.send("sys", "join_resp", frame.ref, await this.#answer(frame));
    this.#channel.close();
  }

  async #answer(frame: Frame): Promise<string> {
    const { fingerprint, address } = this.#peer;
    try {
      if (frame.api !== "sys" || frame.type !== "join") {
        throw new VeripyError("bad_request", "Over this connection there is only the request 'sys:join'.");
      }
      const { id, proof } = parsePayload(joinRequest, frame.json);
      const { certsDir, fingerprint: ownFingerprint } = this.#options;
      const binding = {
        exporter: this.#peer.exportKeyingMaterial(exporterBytes, exporterLabel),
        client: fingerprint,
        server: ownFingerprint(),
      };
      const redemption = await redeemInvitation(certsDir, id, proof, binding);
      if (!redemption.accepted) {
        log.warn("A wrong invitation code from {address}, key {fingerprint}.", { address, fingerprint });
        this.#options.onWrongCode({ address, fingerprint });
        throw new VeripyError("forbidden", "That code is wrong, spent or expired. Ask for a new one.");
      }
      const name = await this.#trust(redemption.name);
      this.#options.onJoined({ fingerprint, name, address });
      log.info("Joined: {who} from {address}, by invitation.", {
        who: name ?? fingerprint,
        address,
        fingerprint,
      });
      return JSON.stringify({ proof: redemption.proof, name });
    } catch (error) {
      if (error instanceof VeripyError && (error.code === "forbidden" || error.code === "bad_request")) {
        return errorPayload(error.code, error.message);
      }
      log.error("Could not let {fingerprint} join: {error}", { fingerprint, error: messageOf(error) });
      return errorPayload("busy", "The server could not let you join; its log says why. Ask for a new code.");
    }
  }

  /** The name the key has got: none, if another key has taken the invited one meanwhile. */
  async #trust(name: string | undefined): Promise<string | undefined> {
    const { trustedKeysPath, reloadTrust } = this.#options;
    const { fingerprint } = this.#peer;
    const given = await addTrustedKey(trustedKeysPath, fingerprint, name === undefined ? {} : { name }).then(
      () => name,
      async (error: VeripyError) => {
        if (name === undefined || error.code !== "bad_config") throw error;
        log.warn("The invited name {name} is not given: {error}", { name, error: error.message });
        await addTrustedKey(trustedKeysPath, fingerprint);
        return undefined;
      },
    );
    await reloadTrust();
    return given;
  }
}
