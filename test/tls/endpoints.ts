import { createPublicKey, generateKeyPairSync } from "node:crypto";
import type { VeripyError } from "../../src/base/errors.ts";
import { type Limits, withDefaultLimits } from "../../src/base/limits.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import type { Identity } from "../../src/identity/identity.ts";
import type { CloseReason } from "../../src/protocol/duplex.ts";
import { type Listener, listen } from "../../src/tls/listener.ts";
import type { Peer } from "../../src/tls/peer.ts";
import type { Refusal } from "../../src/tls/refusal.ts";
import { newIdentity } from "../helpers/keys.ts";
import { eventually } from "../helpers/within.ts";

/** An identity that is not in any file. A negative number of days makes one that has expired. */
export function identityOf(kind: "ed25519" | "p256" = "ed25519", days = 30): Promise<Identity> {
  return newIdentity(`veripy ${kind}`, { kind, days });
}

/**
 * A key file that claims the victim's P-256 public key with another private key, which OpenSSL believes. With it
 * an attacker shows the victim's certificate, and signs the handshake wrongly.
 */
export function forgedKeyFor(certificatePem: string): string {
  const point = createPublicKey(certificatePem).export({ type: "spki", format: "der" }).subarray(-65);
  const { d = "" } = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  // RFC 5915: ECPrivateKey { version 1, privateKey, [0] prime256v1, [1] publicKey }
  const der = Buffer.concat([
    Buffer.from("30770201010420", "hex"),
    Buffer.from(d, "base64url"),
    Buffer.from("a00a06082a8648ce3d030107a144034200", "hex"),
    point,
  ]);
  return `-----BEGIN EC PRIVATE KEY-----\n${der.toString("base64")}\n-----END EC PRIVATE KEY-----\n`;
}

/** One end of a connection, and everything that it has received. */
export class Side {
  readonly peer: Peer;
  readonly chunks: Uint8Array[] = [];
  bytes = 0;
  closedWith: { reason: CloseReason } | undefined;

  constructor(peer: Peer) {
    this.peer = peer;
    peer.duplex.attach({
      data: (chunk) => {
        this.chunks.push(chunk.slice());
        this.bytes += chunk.length;
      },
      closed: (reason) => {
        if (this.closedWith !== undefined) throw new Error("closed twice");
        this.closedWith = { reason };
      },
    });
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  async received(text: string): Promise<void> {
    await eventually(`'${text}'`, () => this.text === text);
  }

  async ended(): Promise<VeripyError | undefined> {
    return (await eventually("the end of a connection", () => this.closedWith)).reason;
  }
}

/** A listener that trusts some keys, and everything that happened at it. */
export class TestListener implements Disposable {
  readonly identity: Identity;
  readonly sides: Side[] = [];
  readonly refusals: Refusal[] = [];
  readonly asked: Fingerprint[] = [];
  readonly #listener: Listener;

  private constructor(identity: Identity, listener: (events: TestListener) => Listener) {
    this.identity = identity;
    this.#listener = listener(this);
  }

  static async start(
    trusted: readonly Identity[],
    options: { limits?: Partial<Limits>; hostname?: string; port?: number; identity?: Identity } = {},
  ): Promise<TestListener> {
    const identity = options.identity ?? (await identityOf());
    const events: { current?: TestListener } = {};
    const listener = await listen({
      hostname: options.hostname ?? "127.0.0.1",
      port: options.port ?? 0,
      identity,
      limits: withDefaultLimits(options.limits),
      verdict: (fingerprint) => {
        events.current?.asked.push(fingerprint);
        return trusted.some((known) => known.fingerprint === fingerprint) ? "trusted" : "untrusted";
      },
      onPeer: (peer) => events.current?.sides.push(new Side(peer)),
      onRefused: (refusal) => events.current?.refusals.push(refusal),
    });
    return new TestListener(identity, (self) => {
      events.current = self;
      return listener;
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  get addresses(): readonly string[] {
    return this.#listener.addresses;
  }

  get handshakes(): number {
    return this.#listener.handshakes;
  }

  stop(): void {
    this.#listener.stop();
  }

  side(index = 0): Promise<Side> {
    return eventually(`peer ${index}`, () => this.sides[index]);
  }

  refusal(index = 0): Promise<Refusal> {
    return eventually(`refusal ${index}`, () => this.refusals[index]);
  }

  [Symbol.dispose](): void {
    this.#listener.stop();
    for (const { peer } of this.sides) peer.duplex.close();
  }
}

/** Connects over plain TCP; `received` and `closed` tell what came. */
export class RawClient implements Disposable {
  received = Buffer.alloc(0);
  isClosed = false;
  readonly #socket: Bun.Socket<undefined>;

  private constructor(socket: Bun.Socket<undefined>) {
    this.#socket = socket;
  }

  static async connect(port: number, hostname = "127.0.0.1"): Promise<RawClient> {
    const events: { client?: RawClient; isClosed: boolean } = { isClosed: false };
    const socket = await Bun.connect({
      hostname,
      port,
      socket: {
        data: (_socket, chunk) => {
          if (events.client) events.client.received = Buffer.concat([events.client.received, chunk]);
        },
        close: () => {
          events.isClosed = true;
          if (events.client) events.client.isClosed = true;
        },
      },
    });
    const client = new RawClient(socket);
    client.isClosed = events.isClosed;
    events.client = client;
    return client;
  }

  write(data: string | Uint8Array): void {
    this.#socket.write(data);
  }

  async closed(): Promise<void> {
    await eventually("the server to close a connection", () => this.isClosed);
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}
