// The limit: mutual TLS with a pinned key on Bun, and back come the very bytes that arrived.
import { keyPin, peerHolds, readSecrets, tls13WithoutTickets } from "../harness/secure.ts";

interface Peer {
  accepted: boolean;
  /** What the socket has not taken yet. */
  rest: Buffer;
}

const { key, cert, peerCert } = readSecrets(process.argv[2] ?? "", "server");
const pin = keyPin(peerCert);
const nothing = Buffer.alloc(0);

function write(socket: Bun.Socket<Peer>, bytes: Buffer): void {
  const taken = Math.max(0, socket.write(bytes));
  socket.data.rest = taken < bytes.length ? Buffer.from(bytes.subarray(taken)) : nothing;
}

const listener = Bun.listen<Peer>({
  hostname: "127.0.0.1",
  port: 0,
  tls: { key, cert, requestCert: true, rejectUnauthorized: false, secureOptions: tls13WithoutTickets },
  socket: {
    open(socket) {
      socket.data = { accepted: false, rest: nothing };
    },
    handshake(socket) {
      socket.data.accepted = peerHolds(socket, pin);
      if (!socket.data.accepted) socket.terminate();
    },
    data(socket, chunk) {
      if (!socket.data.accepted) return;
      const { rest } = socket.data;
      write(socket, rest.length === 0 ? chunk : Buffer.concat([rest, chunk]));
    },
    drain(socket) {
      if (socket.data.rest.length > 0) write(socket, socket.data.rest);
    },
    error() {},
  },
});
console.log(JSON.stringify({ port: listener.port }));
