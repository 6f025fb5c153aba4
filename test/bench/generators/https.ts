// HTTPS as Node programs use it: an agent that keeps its sockets. HTTP/1.1 carries one call at a time on a
// socket, so a connection with 16 calls in flight is 16 sockets.
import { Agent, request } from "node:https";
import { type Connection, runGenerator } from "../harness/generator.ts";
import { readSecrets } from "../harness/secure.ts";

await runGenerator({
  async connect(target, inFlight): Promise<Connection> {
    const { key, cert, peerCert } = readSecrets(target.certs, "client");
    const agent = new Agent({
      keepAlive: true,
      maxSockets: inFlight,
      scheduling: "fifo",
      key,
      cert,
      ca: peerCert,
      minVersion: "TLSv1.3",
    });
    const call = (args: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const headers = { "content-length": Buffer.byteLength(args) };
        const { host, port } = target;
        const options = { agent, host, port, servername: "localhost", method: "POST", path: "/", headers };
        request(options, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => resolve(Buffer.concat(chunks).toString()));
        })
          .on("error", reject)
          .end(args);
      });
    await Promise.all(Array.from({ length: inFlight }, () => call("connect")));
    return { call, close: () => agent.destroy() };
  },
});
