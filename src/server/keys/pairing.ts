import { messageOf, VeripyError } from "../../base/errors.ts";
import { refuseWorldWritable } from "../../base/file-modes.ts";
import { loggerOf } from "../../base/log.ts";
import { LogGate, suppressedNote } from "../../base/log-gate.ts";
import type { Fingerprint } from "../../identity/fingerprint.ts";
import type { Frame } from "../../protocol/frame.ts";
import { errorPayload, joinProtocol, joinRequest, parsePayload } from "../../protocol/messages.ts";
import type { StrangerOptions } from "../../tls/listen-options.ts";
import type { Peer } from "../../tls/peer.ts";
import { entrySchema, Grant } from "../../trust/grant.ts";
import { exporterBytes, exporterLabel } from "../../trust/invitation-code.ts";
import { hasOpenInvitation, redeemInvitation } from "../../trust/invitations.ts";
import {
  addTrustedKey,
  readTrustedKeys,
  type TrustedKeyFields,
  type TrustedKeys,
} from "../../trust/trusted-keys.ts";
import type { PeerLabel } from "../observers/observer.ts";
import { Stranger, Strangers } from "./strangers.ts";

const log = loggerOf("trust");

/** Log lines that strangers can cause, of each kind. One is enough: it says how many were suppressed. */
const maxLinesPerSecond = 1;

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
 * `sys:join_resp:R {"proof","name"?,"already_trusted"?}`, and the client's key is trusted from then on, with the fields
 * that the invitation carries. A code is spent when it adds a key, and only then: not by a key that is trusted already,
 * nor by one that can't be added.
 */
export class Pairing implements StrangerOptions {
  readonly protocol = joinProtocol;
  readonly #options: PairingOptions;
  readonly #strangers = new Strangers();
  readonly #wrongCodes = new LogGate(maxLinesPerSecond);
  readonly #refused = new LogGate(maxLinesPerSecond);
  readonly #needless = new LogGate(maxLinesPerSecond);
  readonly #faults = new LogGate(maxLinesPerSecond);
  /** One attempt after the other, so that a stranger that is dropped has either not begun or been answered. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: PairingOptions) {
    this.#options = options;
  }

  mayEnter(): boolean {
    return hasOpenInvitation(this.#options.certsDir);
  }

  onPeer(peer: Peer): void {
    const stranger = new Stranger(peer, this.#options.withinMs, {
      onLine: (frame) => this.#inTurn(stranger, frame),
      onClosed: () => this.#strangers.delete(stranger),
    });
    this.#strangers.add(stranger);
  }

  close(): void {
    for (const stranger of this.#strangers) stranger.close();
  }

  #inTurn(stranger: Stranger, frame: Frame): void {
    this.#last = this.#last.then(async () => {
      if (stranger.isClosed) return;
      stranger.isBeingAnswered = true;
      stranger.answer(frame.ref, await this.#answer(stranger.peer, frame));
      stranger.isBeingAnswered = false;
    });
  }

  async #answer(peer: Peer, frame: Frame): Promise<string> {
    const { fingerprint, address } = peer;
    try {
      if (frame.api !== "sys" || frame.type !== "join") {
        throw new VeripyError("bad_request", "Over this connection there is only the request 'sys:join'.");
      }
      const { id, proof } = parsePayload(joinRequest, frame.json);
      return JSON.stringify(await this.#redeem(peer, id, proof));
    } catch (error) {
      if (error instanceof VeripyError && (error.code === "forbidden" || error.code === "bad_request")) {
        return errorPayload(error.code, error.message);
      }
      const suppressed = this.#faults.pass();
      if (suppressed !== undefined) {
        const values = {
          fingerprint,
          address,
          error: messageOf(error),
          more: suppressedNote(suppressed, "lines"),
        };
        log.error("Could not let {fingerprint} join: {error}{more}", values);
      }
      return errorPayload(
        "busy",
        "The server could not let you join; its log says why. If the code is refused next time, ask for a new one.",
      );
    }
  }

  async #redeem(peer: Peer, id: string, proof: string): Promise<object> {
    const { certsDir, fingerprint: ownFingerprint } = this.#options;
    const { fingerprint, address } = peer;
    const binding = {
      exporter: peer.exportKeyingMaterial(exporterBytes, exporterLabel),
      client: fingerprint,
      server: ownFingerprint(),
    };
    const found: { grant?: Grant } = {};
    const redemption = await redeemInvitation(certsDir, id, proof, binding, async (fields) => {
      const grant = await this.#grantOf(peer, fields);
      if (grant !== undefined) found.grant = grant;
      return grant === undefined;
    });
    if (!redemption.accepted) {
      const suppressed = this.#wrongCodes.pass();
      if (suppressed !== undefined) {
        const values = { address, fingerprint, more: suppressedNote(suppressed, "lines") };
        log.warn("A wrong invitation code from {address}, key {fingerprint}.{more}", values);
      }
      this.#options.onWrongCode({ address, fingerprint });
      throw new VeripyError("forbidden", "That code is wrong, spent or expired. Ask for a new one.");
    }
    if (found.grant !== undefined) {
      const { name } = found.grant;
      const suppressed = this.#needless.pass();
      if (suppressed !== undefined) {
        const values = { who: name ?? fingerprint, address, more: suppressedNote(suppressed, "lines") };
        log.info("{who} had an invitation code but is trusted already, so it was not spent.{more}", values);
      }
      return { proof: redemption.proof, name, already_trusted: true };
    }
    const { name } = redemption.fields;
    try {
      await this.#trust(fingerprint, redemption.fields);
    } catch (error) {
      await redemption.reopen();
      // Another edit may have given the name away, or this key an entry, in between: that has a message of its own.
      await this.#grantOf(peer, redemption.fields);
      throw error;
    }
    this.#options.onJoined({ fingerprint, name, address });
    log.info("Joined: {who} from {address}, by invitation.", {
      who: name ?? fingerprint,
      address,
      fingerprint,
    });
    return { proof: redemption.proof, name };
  }

  /**
   * The entry that the key has already; undefined when it may be added with those fields. Throws `forbidden`, with the
   * reason, when it would not be let in with the entry that it has or gets, or when another key has the name; and other
   * errors for a trust file to which nothing can be added.
   */
  async #grantOf(peer: Peer, fields: TrustedKeyFields): Promise<Grant | undefined> {
    const { trustedKeysPath } = this.#options;
    await refuseWorldWritable(trustedKeysPath);
    const keys = await readTrustedKeys(trustedKeysPath);
    const { fingerprint, remoteAddress } = peer;
    const grant = keys.lookup(fingerprint);
    if (grant === undefined) {
      this.#refuseInvited(peer, keys, fields);
      return undefined;
    }
    const verdict = keys.verdict(fingerprint, remoteAddress);
    if (grant.fingerprint === fingerprint && verdict === "trusted") return grant;
    const why =
      grant.fingerprint !== fingerprint
        ? "as the next key of another one"
        : verdict === "expired"
          ? "and its entry has expired"
          : `and its entry does not allow the address ${remoteAddress}`;
    throw this.#refusal(
      peer,
      `This client's key is in the server's trust file already, at ${keys.describe(grant)}, ${why}`,
      "Have that entry corrected or removed.",
    );
  }

  /** Throws `forbidden` for a key that would not be let in, or whose name is taken. */
  #refuseInvited(peer: Peer, keys: TrustedKeys, fields: TrustedKeyFields): void {
    const invited = new Grant(entrySchema.parse({ fingerprint: peer.fingerprint, ...fields }));
    const { name } = invited;
    const why =
      name !== undefined && [...keys].some((other) => other.name === name)
        ? `The name '${name}', under which this client was invited, belongs to another key on the server by now`
        : invited.isExpired()
          ? `The entry that this client was invited to has expired (${fields.expires})`
          : invited.mayComeFrom(peer.remoteAddress)
            ? undefined
            : `The invitation does not allow the address ${peer.remoteAddress}`;
    if (why !== undefined) throw this.#refusal(peer, why, "Ask for another invitation.");
  }

  /** For both sides: the server's log says it too. */
  #refusal({ fingerprint, address }: Peer, why: string, advice: string): VeripyError {
    const suppressed = this.#refused.pass();
    if (suppressed !== undefined) {
      const values = { fingerprint, address, why, more: suppressedNote(suppressed, "lines") };
      log.warn("Did not let {fingerprint} from {address} join: {why}. The code was not spent.{more}", values);
    }
    return new VeripyError("forbidden", `${why}. ${advice} The code was not spent.`);
  }

  async #trust(fingerprint: Fingerprint, fields: TrustedKeyFields): Promise<void> {
    const { trustedKeysPath, reloadTrust } = this.#options;
    await addTrustedKey(trustedKeysPath, fingerprint, fields);
    await reloadTrust();
  }
}
