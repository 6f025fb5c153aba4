import type { Identity } from "../../src/identity/identity.ts";
import type { CloseReason } from "../../src/protocol/duplex.ts";
import { joinProtocol } from "../../src/protocol/messages.ts";
import { connectTls } from "../../src/tls/connector.ts";
import type { Peer } from "../../src/tls/peer.ts";

/** An untrusted client that asks to join and then sends what the test wants. */
export class Stranger implements Disposable {
  readonly peer: Peer;
  readonly closed: Promise<CloseReason>;
  received = "";
  isClosed = false;

  private constructor(peer: Peer) {
    this.peer = peer;
    this.closed = new Promise((resolve) => {
      peer.duplex.attach({
        data: (chunk) => {
          this.received += new TextDecoder().decode(chunk);
        },
        drained: () => {},
        closed: (reason) => {
          this.isClosed = true;
          resolve(reason);
        },
      });
    });
  }

  /** With `null`, it does not ask to join. */
  static async connect(
    port: number,
    identity: Identity,
    protocol: string | null = joinProtocol,
  ): Promise<Stranger> {
    const peer = await connectTls({
      host: "127.0.0.1",
      port,
      identity,
      isExpected: () => true,
      timeoutMs: 5_000,
      ...(protocol === null ? {} : { protocol }),
    });
    return new Stranger(peer);
  }

  send(text: string): void {
    this.peer.duplex.write(text);
  }

  [Symbol.dispose](): void {
    this.peer.duplex.close();
  }
}
