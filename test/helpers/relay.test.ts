import { afterAll, expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";
import { Relay } from "./relay.ts";
import { eventually, within } from "./within.ts";

/** Echoes, and ends its side when the client does. */
const echo = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    if (chunk.toString() === "reset me") socket.resetAndDestroy();
    else socket.write(chunk);
  });
  socket.on("end", () => socket.end());
});
const port = await new Promise<number>((resolve) => {
  echo.listen(0, "127.0.0.1", () => resolve((echo.address() as { port: number }).port));
});
afterAll(() => echo.close());

async function join(relay: Relay): Promise<{ socket: Socket; text: () => string; closed: Promise<string> }> {
  const socket = connect({ port: relay.port, host: "127.0.0.1", allowHalfOpen: true });
  let text = "";
  let how = "in order";
  socket.on("data", (chunk) => {
    text += chunk.toString();
  });
  socket.on("error", (error) => {
    how = (error as { code?: string }).code ?? error.message;
  });
  const closed = new Promise<string>((resolve) => socket.on("close", () => resolve(how)));
  await new Promise<void>((resolve) => socket.on("connect", resolve));
  return { socket, text: () => text, closed };
}

test("bytes through a relay arrive after the delays of both directions, complete and in order", async () => {
  using relay = new Relay(port, { up: { delayMs: 60 }, down: { delayMs: 90 } });
  const { socket, text, closed } = await join(relay);
  const start = performance.now();
  socket.write("one ");
  socket.end("two");
  expect(await within(5_000, "the end", closed)).toBe("in order");
  expect(performance.now() - start).toBeGreaterThanOrEqual(149);
  expect(text()).toBe("one two");
  await eventually("the pair to go", () => relay.open === 0);
});

test("a relay's black hole in one direction holds back the bytes and the end of the stream", async () => {
  using relay = new Relay(port);
  const { socket, text, closed } = await join(relay);
  relay.down.set({ isHole: true });
  socket.end("lost");
  await eventually("the way up", () => relay.up.forwarded === 4);
  await Bun.sleep(30);
  expect(text()).toBe("");
  relay.down.set({ isHole: false });
  expect(await within(5_000, "the end", closed)).toBe("in order");
  expect(text()).toBe("lost");
});

test("a relay with a limited rate queues the rest, and stops reading at its bound", async () => {
  using relay = new Relay(port, { up: { bytesPerSecond: 100_000, maxQueuedBytes: 10_000 } });
  const { socket, text } = await join(relay);
  const start = performance.now();
  socket.write("x".repeat(30_000));
  await eventually("all of it", () => text().length === 30_000);
  expect(performance.now() - start).toBeGreaterThanOrEqual(200);
  socket.destroy();
});

test("a relay's cut resets both ends, and a reset by the server reaches the client as a reset", async () => {
  using relay = new Relay(port);
  const cut = await join(relay);
  await eventually("the server", () => relay.open === 1);
  relay.cutAll();
  expect(await within(5_000, "the cut", cut.closed)).toBe("ECONNRESET");
  const reset = await join(relay);
  reset.socket.write("reset me");
  expect(await within(5_000, "the reset", reset.closed)).toBe("ECONNRESET");
  expect(relay.open).toBe(0);
});

test("a relay's cut after a number of bytes lets exactly those pass, and resets each connection", async () => {
  for (const cutAfterBytes of [1, 7, 10]) {
    using relay = new Relay(port, { up: { cutAfterBytes } });
    for (const connection of [1, 2]) {
      const { socket, closed } = await join(relay);
      socket.write("0123456789");
      expect(await within(5_000, "the cut", closed)).toBe("ECONNRESET");
      expect(relay.up.forwarded).toBe(connection * cutAfterBytes);
      expect(relay.open).toBe(0);
    }
  }
});

test("a relay ends the client's half of a connection, and the server's answer still arrives", async () => {
  using relay = new Relay(port);
  const { socket, text, closed } = await join(relay);
  socket.write("last words");
  await eventually("the way up", () => relay.up.forwarded === 10);
  relay.endUp();
  // The server ends its half in turn; the client still has to end its own.
  socket.on("end", () => socket.end());
  expect(await within(5_000, "the end", closed)).toBe("in order");
  expect(text()).toBe("last words");
});
