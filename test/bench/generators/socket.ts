import { Outbox } from "../harness/outbox.ts";
import { keyPin, peerHolds, readSecrets, tls13WithoutTickets } from "../harness/secure.ts";

/** An open connection that proved its server's key. */
export interface SecureSocket {
  send(text: string): void;
  sendBytes(bytes: Uint8Array): void;
  /** Whole lines as they come. */
  onLine: (line: string) => void;
  /** Any bytes as they come; with it set, `onLine` is not called. */
  onBytes: (() => void) | undefined;
  close(): void;
}

interface State extends SecureSocket {
  held: string;
  readonly outbox: Outbox;
  readonly decoder: TextDecoder;
}

/** Settings read once per process, for a handshake must not pay for reading files. */
const settings = new Map<string, { key: string; cert: string; pin: string }>();

/** Connects with TLS and our certificate; rejects a server with another key, and one that closes early. */
export function connectSecurely(
  target: { host: string; port: number; certs: string; alpn?: string },
  onClosed: () => void = () => {},
): Promise<SecureSocket> {
  let secrets = settings.get(target.certs);
  if (secrets === undefined) {
    const { key, cert, peerCert } = readSecrets(target.certs, "client");
    secrets = { key, cert, pin: keyPin(peerCert) };
    settings.set(target.certs, secrets);
  }
  const { key, cert, pin } = secrets;

  return new Promise((resolve, reject) => {
    Bun.connect<State>({
      hostname: target.host,
      port: target.port,
      tls: {
        key,
        cert,
        rejectUnauthorized: false,
        // A server that would settle for less is measured at less work.
        secureOptions: tls13WithoutTickets,
        ...(target.alpn === undefined ? {} : { ALPNProtocols: target.alpn }),
      },
      socket: {
        open(socket) {
          const outbox = new Outbox(socket);
          socket.data = {
            held: "",
            outbox,
            decoder: new TextDecoder(),
            send: (text) => outbox.send(text),
            sendBytes: (bytes) => void socket.write(bytes),
            onLine: () => {},
            onBytes: undefined,
            close: () => void socket.end(),
          };
        },
        handshake(socket) {
          if (peerHolds(socket, pin)) return resolve(socket.data);
          reject(new Error("The server showed another key."));
          socket.terminate();
        },
        data({ data: state }, chunk) {
          if (state.onBytes !== undefined) return state.onBytes();
          const lines = (state.held + state.decoder.decode(chunk, { stream: true })).split("\n");
          state.held = lines.pop() ?? "";
          for (const line of lines) state.onLine(line);
        },
        drain: ({ data: state }) => state.outbox.flush(),
        close: () => {
          reject(new Error("The server closed the connection."));
          onClosed();
        },
        error: (_socket, error) => reject(error),
        connectError: (_socket, error) => reject(error),
      },
    }).catch(reject);
  });
}
