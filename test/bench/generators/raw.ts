// Opens connections the same way for every stack: the TLS handshake, the stack's own first bytes, and the first
// bytes of the server's answer, which prove that it has accepted the client's certificate.
import type { Command, Result, Target } from "../harness/commands.ts";
import { saveAgain } from "../harness/edit.ts";
import { runGenerator } from "../harness/generator.ts";
import { connectSecurely, type SecureSocket } from "./socket.ts";

await runGenerator({
  connect: () => Promise.reject(new Error("This generator makes no calls.")),
  open,
  broadcast,
});

async function open(target: Target): Promise<SecureSocket> {
  return new Promise((resolve, reject) => {
    connectSecurely(target, () => reject(new Error("The server closed before it answered."))).then(
      (socket) => {
        socket.onBytes = () => {
          socket.onBytes = undefined;
          resolve(socket);
        };
        if (target.helloHex === undefined) socket.send(target.hello ?? "");
        else socket.sendBytes(Buffer.from(target.helloHex, "hex"));
      },
      reject,
    );
  });
}

/** Times from the trigger to the first and to the last client's line. */
async function broadcast(target: Target, command: Extract<Command, { do: "broadcast" }>): Promise<Result> {
  const { trigger, times, clients, marker } = command;
  const sockets: SecureSocket[] = [];
  while (sockets.length < clients) {
    sockets.push(...(await Promise.all(Array.from({ length: 10 }, () => open(target)))));
  }
  const first: number[] = [];
  const last: number[] = [];
  let onArrival: () => void = () => {};
  for (const socket of sockets) {
    socket.onLine = (line) => {
      if (line.startsWith(marker)) onArrival();
    };
  }
  for (let round = 0; round < times; round++) {
    // People's saves come one by one and at no fixed step to any timer of the server.
    await new Promise((resolve) => setTimeout(resolve, 40 + Math.random() * 60));
    await new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(() => reject(new Error("A broadcast did not reach every client.")), 10_000);
      let arrived = 0;
      const start = performance.now();
      onArrival = () => {
        arrived++;
        if (arrived === 1) first.push(performance.now() - start);
        if (arrived < sockets.length) return;
        last.push(performance.now() - start);
        clearTimeout(deadline);
        resolve();
      };
      if ("file" in trigger) saveAgain(trigger.file, round);
      else sockets[0]?.send(trigger.send);
    });
  }
  for (const socket of sockets) socket.close();
  return { count: clients, ms: 0, times: { first, last } };
}
