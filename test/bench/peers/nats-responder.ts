import { join } from "node:path";
import { connect } from "@nats-io/transport-node";

const [certs = "", port = ""] = process.argv.slice(2);
const connection = await connect({
  servers: `localhost:${port}`,
  reconnect: false,
  timeout: 2_000,
  tls: {
    keyFile: join(certs, "client.key"),
    certFile: join(certs, "client.crt"),
    caFile: join(certs, "server.crt"),
  },
});
connection.subscribe("hello", {
  callback: (_error, message) => void message.respond(`Hello, ${message.string()}!`),
});
await connection.flush();
console.log(JSON.stringify({ port: Number(port) }));
