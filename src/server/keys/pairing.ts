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
import type { ServerObserver } from "../observers/observer.ts";
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
  /** Whether a catalogue lists the trust file, so that an edit would count for nothing. */
  trustIsSigned(): boolean;
  /** Resolves when the server has applied the current trust file. */
  reloadTrust(): Promise<void>;
  readonly observers: Pick<ServerObserver, "refused" | "trustEdited">;
}

/**
 * Lets clients join with a one-time code: `sys:join:R {"id","proof"}` is answered with
 * `sys:join_resp:R {"proof","name"?,"already_trusted"?}`, and from then on the client's key is trusted, with the fields of
 * the invitation. A code is spent only when it adds a key: not by a key that is already trusted, nor by one that cannot
 * be added.
 */
export class Pairing implements StrangerOptions {
  readonly protocol = joinProtocol;
  readonly #options: PairingOptions;
  readonly #strangers = new Strangers();
  readonly #refused = new LogGate(maxLinesPerSecond);
  readonly #needless = new LogGate(maxLinesPerSecond);
  readonly #faults = new LogGate(maxLinesPerSecond);
  /** One attempt at a time, so that a stranger that is dropped has either not started or been answered. */
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
        throw new VeripyError("bad_request", "The only request on this connection is 'sys:join'.");
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
        "The server could not let you join; its log says why. Try again; if the code is refused, ask for a new one.",
      );
    }
  }

  async #redeem(peer: Peer, id: string, proof: string): Promise<object> {
    const { certsDir, observers, fingerprint: ownFingerprint } = this.#options;
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
      observers.refused?.({ reason: "wrong_code", fingerprint, address });
      throw new VeripyError("forbidden", "That code is wrong, spent or expired. Ask for a new one.");
    }
    if (found.grant !== undefined) {
      const { name } = found.grant;
      const suppressed = this.#needless.pass();
      if (suppressed !== undefined) {
        const values = { who: name ?? fingerprint, address, more: suppressedNote(suppressed, "lines") };
        log.info(
          "{who} sent an invitation code but is already trusted, so the code was not spent.{more}",
          values,
        );
      }
      return { proof: redemption.proof, name, already_trusted: true };
    }
    const { name } = redemption.fields;
    try {
      await this.#trust(fingerprint, redemption.fields);
    } catch (error) {
      await redemption.reopen();
      // In between, another edit may have taken the name or added this key. That has a message of its own.
      await this.#grantOf(peer, redemption.fields);
      throw error;
    }
    observers.trustEdited?.({ kind: "joined", peer: { fingerprint, name, address } });
    return { proof: redemption.proof, name };
  }

  /**
   * The entry that the key already has; undefined when it may be added with those fields. Throws `forbidden`, with the
   * reason, when the key would be refused with its current or its new entry, or when another key has the name. Throws
   * other errors when nothing can be added to the trust file.
   */
  async #grantOf(peer: Peer, fields: TrustedKeyFields): Promise<Grant | undefined> {
    const { trustedKeysPath, trustIsSigned } = this.#options;
    await refuseWorldWritable(trustedKeysPath);
    const keys = await readTrustedKeys(trustedKeysPath);
    const { fingerprint, remoteAddress } = peer;
    if (keys.revoked.has(fingerprint))
      throw this.#refusal(peer, "This client's key was revoked", "Ask the operator, or make another key.");
    const grant = keys.lookup(fingerprint);
    if (grant === undefined) {
      if (trustIsSigned())
        throw this.#refusal(
          peer,
          "The server's trusted keys are in its signed catalogue, so nobody can join by a code",
          "Send the operator your key's fingerprint ('veripy-client fingerprint'); the catalogue then has to be signed anew.",
        );
      this.#refuseInvited(peer, keys, fields);
      return undefined;
    }
    const verdict = keys.verdict(fingerprint, remoteAddress);
    if (grant.fingerprint === fingerprint && verdict === "trusted") return grant;
    const why =
      grant.fingerprint !== fingerprint
        ? "as the next key of another key"
        : verdict === "expired"
          ? "and its entry has expired"
          : `and its entry does not allow the address ${remoteAddress}`;
    throw this.#refusal(
      peer,
      `This client's key is already in the server's trust file, at ${keys.describe(grant)}, ${why}`,
      "Ask the operator to correct or remove that entry.",
    );
  }

  /** Throws `forbidden` for a key that would be refused, or whose name is taken. */
  #refuseInvited(peer: Peer, keys: TrustedKeys, fields: TrustedKeyFields): void {
    const invited = new Grant(entrySchema.parse({ fingerprint: peer.fingerprint, ...fields }));
    const { name } = invited;
    const why =
      name !== undefined && [...keys].some((other) => other.name === name)
        ? `The name '${name}', under which this client was invited, now belongs to another key on the server`
        : invited.isExpired()
          ? `The access that this invitation grants has expired (${fields.expires})`
          : invited.mayComeFrom(peer.remoteAddress)
            ? undefined
            : `The invitation does not allow the address ${peer.remoteAddress}`;
    if (why !== undefined) throw this.#refusal(peer, why, "Ask for another invitation.");
  }

  /** Also logged, so that the operator learns of it. */
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
