import { describe, expect, test } from "bun:test";
import { networkOf } from "../../src/tls/address.ts";
import { bind } from "../../src/tls/bind.ts";
import { descriptorOf } from "../../src/tls/descriptors.ts";
import { FloodGuard } from "../../src/tls/flood-guard.ts";
import { resetPeerAddress } from "../../src/tls/reset-peer.ts";
import { dropSyns } from "../../src/tls/syn-filter.ts";
import { run } from "../helpers/processes.ts";
import { python } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

/** Accepts everything, and answers with what it got. */
class Echo implements Disposable {
  readonly #bound: ReturnType<typeof bind<undefined>>;
  /** What was accepted: the address, or that of a connection that was reset before. */
  readonly accepted: (string | undefined)[] = [];

  constructor(hostname: string) {
    this.#bound = bind<undefined>(hostname, 0, {
      data: undefined,
      socket: {
        open: (socket) => {
          const { remoteAddress } = socket;
          this.accepted.push(
            remoteAddress ?? `reset by ${resetPeerAddress(descriptorOf(socket)) ?? "an unknown peer"}`,
          );
        },
        data: (socket, chunk) => void socket.write(chunk),
      },
    });
  }

  get port(): number {
    return this.#bound.port;
  }

  get descriptor(): number {
    return this.#bound.descriptors[0] ?? -1;
  }

  [Symbol.dispose](): void {
    this.#bound.stop();
  }
}

/** Which of the addresses can connect; 300 ms are enough where no packet is lost. */
async function whoConnects(sources: readonly string[], port: number, host = "127.0.0.1"): Promise<string[]> {
  const program = `
import socket, sys
for source in sys.argv[3:]:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.3, (source, 0))
        print(source)
    except TimeoutError: pass`;
  const { stdout, stderr } = await run([python ?? "", "-c", program, host, String(port), ...sources]);
  expect(stderr).toBe("");
  return stdout.split("\n").slice(0, -1);
}

describe.skipIf(python === undefined || process.platform !== "linux")("a flood of connections", () => {
  test("from one address can be dropped by the kernel, while others connect", async () => {
    using echo = new Echo("127.0.0.1");
    dropSyns(echo.descriptor, ["127.0.0.4", "127.0.0.5"]);
    const sources = ["127.0.0.4", "127.0.0.5", "127.0.0.6"];
    expect(await whoConnects(sources, echo.port)).toEqual(["127.0.0.6"]);
    dropSyns(echo.descriptor, []);
    expect(await whoConnects(sources, echo.port)).toEqual(sources);
  });

  test("from one IPv6 /64 too, at a socket for both families", async () => {
    using echo = new Echo("::");
    dropSyns(echo.descriptor, ["127.0.0.5", networkOf("2001:db8::1"), networkOf("::1")]);
    expect(await whoConnects(["::1"], echo.port, "::1")).toEqual([]);
    expect(await whoConnects(["127.0.0.5", "127.0.0.1"], echo.port)).toEqual(["127.0.0.1"]);
    dropSyns(echo.descriptor, [networkOf("2001:db8::1"), networkOf("0:0:0:1::1")]);
    expect(await whoConnects(["::1"], echo.port, "::1")).toEqual(["::1"]);
  });

  test("that is dropped leaves the connections alone that the address has already", async () => {
    using echo = new Echo("127.0.0.1");
    let received = "";
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: echo.port,
      socket: {
        data: (_, chunk) => {
          received += new TextDecoder().decode(chunk);
        },
      },
    });
    dropSyns(echo.descriptor, ["127.0.0.1"]);
    expect(await whoConnects(["127.0.0.1"], echo.port)).toEqual([]);
    socket.write("still here");
    await eventually("the echo", () => received === "still here");
    socket.terminate();
  });

  test("stops an address once it has been turned away too often, until the second is over", async () => {
    using echo = new Echo("127.0.0.1");
    const guard = new FloodGuard(() => [echo.descriptor]);
    for (let count = 1; count < 200; count++) guard.turnedAway("127.0.0.5");
    const sources = ["127.0.0.5", "127.0.0.6"];
    expect(await whoConnects(sources, echo.port)).toEqual(sources);
    // The second may be over before the program connects; the next one is no different.
    await eventually("no connection", async () => {
      for (let count = 1; count <= 200; count++) guard.turnedAway("127.0.0.5");
      return (await whoConnects(sources, echo.port)).join() === "127.0.0.6";
    });
    await eventually("the end of the second", async () => {
      return (await whoConnects(sources, echo.port)).length === 2;
    });
  });

  test("of connections that are reset before they are accepted is known by its address", async () => {
    for (const [hostname, source, host] of [
      ["127.0.0.1", "127.0.0.7", "127.0.0.1"],
      ["::", "127.0.0.7", "127.0.0.1"],
      ["::", "::1", "::1"],
    ] as const) {
      using echo = new Echo(hostname);
      const program = `
import socket, struct, sys
peer = socket.create_connection((sys.argv[2], int(sys.argv[3])), 1, (sys.argv[1], 0))
peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
peer.close()`;
      // The event loop waits for the program, so that nothing is accepted before it has hung up.
      Bun.spawnSync([python ?? "", "-c", program, source, host, String(echo.port)]);
      const expected = source === "::1" ? "0:0:0:0:0:0:0:1" : source;
      expect(await eventually("the connection", () => echo.accepted[0])).toBe(`reset by ${expected}`);
    }
  });

  test("waits to be accepted, 1,500 at once, rather than being dropped", () => {
    using echo = new Echo("127.0.0.1");
    const program = `
import resource, select, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
poll = select.poll()
peers = []
for _ in range(1500):
    peer = socket.socket()
    peer.setblocking(False)
    peer.connect_ex(("127.0.0.1", int(sys.argv[1])))
    peers.append(peer)
    poll.register(peer, select.POLLOUT)
pending = len(peers)
while pending > 0:
    ready = poll.poll(500)
    if not ready: break
    for descriptor, _ in ready:
        poll.unregister(descriptor)
        pending -= 1
print(pending)`;
    // Meanwhile the event loop accepts none. A connection that was dropped would take a second.
    const { stdout } = Bun.spawnSync([python ?? "", "-c", program, String(echo.port)]);
    expect(stdout.toString()).toBe("0\n");
  });
});
