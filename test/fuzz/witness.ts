import { connect } from "../../src/index.ts";

/**
 * A client that wants to be served while others misbehave: `bun witness.ts PORT CERTS`. Calls a module over and
 * over until its standard input ends, then prints one line of JSON: calls, failures, latencies.
 */
const [port, certsDir] = process.argv.slice(2);
if (port === undefined || certsDir === undefined) throw new Error("usage: witness.ts PORT CERTS");

const client = await connect({ host: "127.0.0.1", port: Number(port), certsDir });
console.log("ready");
const latencies: number[] = [];
const failures: string[] = [];
let isOver = false;
void Bun.stdin.text().then(() => {
  isOver = true;
});
while (!isOver) {
  const startedAt = performance.now();
  try {
    const { result } = await client.exec("echo.ts", String(latencies.length), { timeoutMs: 20_000 });
    if (result !== String(latencies.length)) failures.push(`got ${result}`);
  } catch (error) {
    failures.push(String(error));
    if (failures.length > 10) break;
  }
  latencies.push(performance.now() - startedAt);
  await Bun.sleep(10);
}
client.close();
latencies.sort((a, b) => a - b);
const at = (share: number) =>
  latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))] ?? 0;
console.log(
  JSON.stringify({ calls: latencies.length, failures, p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1) }),
);
