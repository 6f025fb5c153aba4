// HTTPS with client certificates on Bun.serve: the arguments are the body of a POST, the result is the answer's.
import { readSecrets } from "../harness/secure.ts";

const { key, cert, peerCert } = readSecrets(process.argv[2] ?? "", "server");

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 120,
  tls: { key, cert, ca: peerCert, requestCert: true, rejectUnauthorized: true },
  fetch: async (request) => new Response(`Hello, ${await request.text()}!`),
});
console.log(JSON.stringify({ port: server.port }));
