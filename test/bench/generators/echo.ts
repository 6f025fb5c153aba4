// Calls the raw echo: the bytes of a request go out and come back; the order tells which is which.
import { type Connection, runGenerator } from "../harness/generator.ts";
import { connectSecurely } from "./socket.ts";

const line = (args: string): string => `mod:exec:1 {"mod":"hello.ts","args":"${args}"}`;

await runGenerator({
  expected: line,
  async connect(target): Promise<Connection> {
    const waiting: ((line: string) => void)[] = [];
    let next = 0;
    const socket = await connectSecurely(target);
    socket.onLine = (text) => {
      waiting[next++]?.(text);
      // Dropping what is answered in one go: shift() on every answer would cost more than the echo.
      if (next === waiting.length) {
        waiting.length = 0;
        next = 0;
      }
    };
    return {
      call: (args) =>
        new Promise((resolve) => {
          waiting.push(resolve);
          socket.send(`${line(args)}\n`);
        }),
      close: () => socket.close(),
    };
  },
});
