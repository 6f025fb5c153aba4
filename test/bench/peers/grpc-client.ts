import { Client, credentials } from "@grpc/grpc-js";
import { type Connection, runGenerator } from "../harness/generator.ts";
import { readSecrets } from "../harness/secure.ts";
import { execMethod } from "./grpc-method.ts";

await runGenerator({
  async connect(target): Promise<Connection> {
    const { key, cert, peerCert } = readSecrets(target.certs, "client");
    const client = new Client(
      `localhost:${target.port}`,
      credentials.createSsl(Buffer.from(peerCert), Buffer.from(key), Buffer.from(cert)),
      // Otherwise all clients of a process would share one connection.
      { "grpc.use_local_subchannel_pool": 1 },
    );
    const { path, requestSerialize, responseDeserialize } = execMethod;
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve()));
    });
    return {
      call: (args) =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(path, requestSerialize, responseDeserialize, args, (error, value) =>
            error === null ? resolve(value ?? "") : reject(error),
          );
        }),
      close: () => client.close(),
    };
  },
});
