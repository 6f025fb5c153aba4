// HTTPS with client certificates on Node: the arguments are the body of a POST, the result is the answer's.
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { readSecrets } from "../harness/secure.ts";

const { key, cert, peerCert } = readSecrets(process.argv[2] ?? "", "server");

const server = createServer(
  { key, cert, ca: peerCert, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
  (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = `Hello, ${Buffer.concat(chunks).toString()}!`;
      response.writeHead(200, { "content-length": Buffer.byteLength(body) }).end(body);
    });
  },
);
server.keepAliveTimeout = 120_000;
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));
});
