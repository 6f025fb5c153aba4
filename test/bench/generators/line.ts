// A small client of the plain protocol, for the bare server and the one in Python.
import { type Connection, runGenerator } from "../harness/generator.ts";
import { connectSecurely } from "./socket.ts";

await runGenerator({
  async connect(target): Promise<Connection> {
    const pending = new Map<string, (result: string) => void>();
    let nextRef = 0;
    const socket = await connectSecurely(target);
    socket.onLine = (line) => {
      const space = line.indexOf(" ");
      const ref = line.slice(line.lastIndexOf(":", space) + 1, space);
      const { result } = JSON.parse(line.slice(space)) as { result: string };
      pending.get(ref)?.(result);
      pending.delete(ref);
    };
    return {
      call: (args) =>
        new Promise((resolve) => {
          const ref = String(++nextRef);
          pending.set(ref, resolve);
          socket.send(`mod:exec:${ref} ${JSON.stringify({ mod: "hello.ts", args })}\n`);
        }),
      close: () => socket.close(),
    };
  },
});
