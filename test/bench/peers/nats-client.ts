import { join } from "node:path";
import { connect, type Msg } from "@nats-io/transport-node";
import { type Connection, runGenerator } from "../harness/generator.ts";

await runGenerator<Msg>({
  async connect(target): Promise<Connection<Msg>> {
    const connection = await connect({
      servers: `localhost:${target.port}`,
      reconnect: false,
      timeout: 2_000,
      tls: {
        keyFile: join(target.certs, "client.key"),
        certFile: join(target.certs, "client.crt"),
        caFile: join(target.certs, "server.crt"),
      },
    });
    return {
      call: (args) => connection.request("hello", args, { timeout: 10_000 }),
      close: () => connection.close(),
    };
  },
  textOf: (answer) => answer.string(),
});
