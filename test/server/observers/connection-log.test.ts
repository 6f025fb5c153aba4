import { afterAll, expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { ConnectionLog } from "../../../src/server/observers/connection-log.ts";

afterAll(() => reset());

test("a client that reconnects in a loop gets a hundred lines per second, and the next line counts the others", async () => {
  const records: LogRecord[] = [];
  await configure({
    reset: true,
    sinks: { kept: (record) => records.push(record) },
    loggers: [{ category: ["veripy"], lowestLevel: "info", sinks: ["kept"] }],
  });
  const messages = () => records.map(({ message }) => message.join(""));
  let now = 0;
  const log = new ConnectionLog(() => now);
  const connect = (number: number) =>
    log.connected({ fingerprint: "ab", name: "local", address: `127.0.0.1:${number}`, mayRun: true });
  for (let number = 0; number < 250; number++) connect(number);
  expect(records.length).toBe(100);
  expect(messages()[99]).toBe("Connected: local from 127.0.0.1:99.");
  now = 1_000;
  connect(250);
  connect(251);
  expect(messages().slice(100)).toEqual([
    "Connected: local from 127.0.0.1:250 (150 similar connections suppressed).",
    "Connected: local from 127.0.0.1:251.",
  ]);
});
