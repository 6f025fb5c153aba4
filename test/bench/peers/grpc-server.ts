import { Server, ServerCredentials } from "@grpc/grpc-js";
import { readSecrets } from "../harness/secure.ts";
import { execMethod } from "./grpc-method.ts";

const { key, cert, peerCert } = readSecrets(process.argv[2] ?? "", "server");
const server = new Server();
server.addService(
  { exec: execMethod },
  {
    exec: (call: { request: string }, answer: (error: null, value: string) => void) =>
      answer(null, `Hello, ${call.request}!`),
  },
);
const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) };
const credentials = ServerCredentials.createSsl(Buffer.from(peerCert), [pair], true);
server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
  if (error !== null) throw error;
  console.log(JSON.stringify({ port }));
});
