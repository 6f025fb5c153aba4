// VeriPy's lines without VeriPy: the module is a function of this very process, and nothing is bounded. What
// VeriPy adds for processes of their own, limits and checks is the distance to this.
import { Outbox } from "../harness/outbox.ts";
import { keyPin, peerHolds, readSecrets, tls13WithoutTickets } from "../harness/secure.ts";

interface Peer {
  accepted: boolean;
  held: string;
  outbox: Outbox;
  decoder: TextDecoder;
}

const { key, cert, peerCert } = readSecrets(process.argv[2] ?? "", "server");
const pin = keyPin(peerCert);
const accepted = new Set<Peer>();
const digest = "0".repeat(64);
const linePattern = /^([a-z_]+):([a-z_]+):([A-Za-z0-9_.-]+) (\{.*\})$/s;

async function execute(args: string): Promise<string> {
  return `Hello, ${args}!`;
}

async function handle(peer: Peer, line: string): Promise<void> {
  const [, api, type, ref, json = ""] = linePattern.exec(line) ?? [];
  const payload = JSON.parse(json) as { mod: string; args: string };
  if (api === "sys" && type === "ping") return peer.outbox.send(`sys:pong:${ref} {}\n`);
  if (api === "bench" && type === "broadcast") {
    const body = JSON.stringify({ mod: "hello.ts", desc: null, sum: digest, tree: digest });
    for (const { outbox } of accepted) outbox.send(`modreload:modreload:${ref} ${body}\n`);
    return;
  }
  const result = await execute(payload.args);
  const answer = JSON.stringify({ mod: payload.mod, result, sum: digest, tree: digest });
  peer.outbox.send(`mod:exec_resp:${ref} ${answer}\n`);
}

const listener = Bun.listen<Peer>({
  hostname: "127.0.0.1",
  port: 0,
  tls: { key, cert, requestCert: true, rejectUnauthorized: false, secureOptions: tls13WithoutTickets },
  socket: {
    open(socket) {
      socket.data = { accepted: false, held: "", outbox: new Outbox(socket), decoder: new TextDecoder() };
    },
    handshake(socket) {
      socket.data.accepted = peerHolds(socket, pin);
      if (socket.data.accepted) accepted.add(socket.data);
      else socket.terminate();
    },
    data({ data: peer }, chunk) {
      if (!peer.accepted) return;
      const lines = (peer.held + peer.decoder.decode(chunk, { stream: true })).split("\n");
      peer.held = lines.pop() ?? "";
      for (const line of lines) void handle(peer, line);
    },
    drain: ({ data: peer }) => peer.outbox.flush(),
    close: ({ data: peer }) => void accepted.delete(peer),
    error() {},
  },
});
console.log(JSON.stringify({ port: listener.port }));
