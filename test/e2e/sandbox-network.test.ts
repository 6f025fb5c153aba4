import { afterAll, describe, expect, test } from "bun:test";
import { createServer, type Server as NetServer } from "node:net";
import { join } from "node:path";
import {
  type AttackedServer,
  attackedServer,
  hasSandbox,
  refusal,
  sandboxed,
  type Tools,
  worked,
} from "../helpers/sandboxed.ts";

// What a module can do with sockets, in the built executables.

/** Answers "hello", to WebSockets too, and counts who comes. */
const web = (count: () => void) =>
  Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request, server) {
      count();
      return server.upgrade(request) ? undefined : new Response("hello");
    },
    websocket: { open: (socket) => void socket.send("hello"), message() {} },
  });
let strangers = 0;
const [known, unknown] = [web(() => {}), web(() => strangers++)];
/** Ports that nothing listens on. */
const [mine, notMine] = [freePort(), freePort()];
const sockets: NetServer[] = [];
const paths = { socket: "", abstract: "" };
afterAll(async () => {
  await Promise.all([known.stop(true), unknown.stop(true)]);
  for (const socket of sockets) socket.close();
});

const { attempt }: AttackedServer = hasSandbox
  ? await attackedServer((site) => {
      paths.socket = join(site.path, "unix.sock");
      paths.abstract = `\0veripy-${process.pid}-${Math.random()}`;
      for (const path of [paths.socket, paths.abstract])
        sockets.push(createServer((socket) => socket.end("hello")).listen(path));
      return {
        none: undefined,
        all: "all",
        files: { read: ["/"], write: [site.path] },
        connect: { connect: [known.port as number] },
        listen: { listen: [mine] },
      };
    })
  : ({} as AttackedServer);

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

const connecting: Record<string, (tools: Tools, port: number) => unknown> = {
  fetch: async (_, port) => (await fetch(`http://127.0.0.1:${port}/`)).text(),
  "fetch by name": async (_, port) => (await fetch(`http://localhost:${port}/`)).text(),
  "net.connect": ({ net }, port) =>
    new Promise((resolve, reject) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve("hello");
      });
      socket.on("error", reject);
    }),
  "Bun.connect": async (_, port) => {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
    socket.end();
    return "hello";
  },
  WebSocket: (_, port) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
      socket.onmessage = ({ data }) => {
        resolve(data);
        socket.close();
      };
      socket.onclose = () => reject(new Error("closed"));
    }),
  "a raw connect": ({ sys, nr }, port) => {
    const address = new Uint8Array([2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    const fd = sys(nr.socket, 2, 1, 0);
    const result = fd < 0 ? fd : sys(nr.connect, fd, address, 16);
    if (result < 0) throw Object.assign(new Error("connect"), { code: String(result) });
    return "hello";
  },
};

describe.skipIf(!hasSandbox)(sandboxed("connecting"), () => {
  for (const [name, attack] of Object.entries(connecting)) {
    test(`by ${name}: to the ports that 'connect' declares, and no other`, async () => {
      expect(worked(await attempt("connect", attack, known.port as number))).toBe("hello");
      strangers = 0;
      for (const mod of ["connect", "listen", "none", "files"])
        refusal(await attempt(mod, attack, unknown.port as number));
      expect(strangers).toBe(0);
      refusal(await attempt("none", attack, known.port as number));
      expect(worked(await attempt("all", attack, unknown.port as number))).toBe("hello");
    });
  }

  test("not by data in the first packet (TCP Fast Open), by sendto, sendmsg or sendmmsg", async () => {
    const attack = ({ sys, nr, ffi }: Tools, [port, call]: [number, string]) => {
      const address = new Uint8Array([2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
      const text = Buffer.from("GET / HTTP/1.0\r\n\r\n");
      const fastOpen = 0x20000000;
      const fd = sys(nr.socket, 2, 1, 0);
      const vector = new BigUint64Array([BigInt(ffi.ptr(text)), BigInt(text.length)]);
      const message = new BigUint64Array([
        BigInt(ffi.ptr(address)),
        16n,
        BigInt(ffi.ptr(vector)),
        1n,
        0n,
        0n,
        0n,
        0n,
      ]);
      const bytes = new Uint8Array(message.buffer);
      const result =
        call === "sendto"
          ? sys(nr.sendto, fd, text, text.length, fastOpen, address, 16)
          : call === "sendmsg"
            ? sys(nr.sendmsg, fd, bytes, fastOpen)
            : sys(nr.sendmmsg, fd, bytes, 1, fastOpen);
      return [result, address.length + vector.length].shift();
    };
    for (const call of ["sendto", "sendmsg", "sendmmsg"]) {
      const to: [number, string] = [unknown.port as number, call];
      expect([call, worked(await attempt("connect", attack, to))]).toEqual([call, -13]);
      expect(worked(await attempt("all", attack, to))).toBeGreaterThan(0);
    }
  });

  test("not to a Unix socket with a path, nor to an abstract one", async () => {
    const byNet = ({ net }: Tools, path: string) =>
      new Promise((resolve, reject) => {
        const socket = net
          .connect(path)
          .on("error", reject)
          .on("data", (data) => resolve(String(data)));
        socket.unref();
      });
    const byBun = (_: Tools, path: string) =>
      new Promise((resolve, reject) => {
        const data = (_socket: unknown, bytes: Uint8Array) => resolve(new TextDecoder().decode(bytes));
        Bun.connect({ unix: path, socket: { data } }).catch(reject);
      });
    const byFetch = async (_: Tools, unix: string) =>
      (await fetch("http://localhost/", { unix } as RequestInit)).status;
    for (const attack of [byNet, byBun]) {
      for (const path of [paths.socket, paths.abstract]) {
        for (const mod of ["none", "files", "connect", "listen"]) refusal(await attempt(mod, attack, path));
        expect(worked(await attempt("all", attack, path))).toBe("hello");
      }
    }
    refusal(await attempt("files", byFetch, paths.socket));
  });

  test("not to a Unix socket by a pair of datagram sockets, which can send to any path", async () => {
    const attack = ({ sys, nr }: Tools, type: number) => sys(nr.socketpair, 1, type, 0, new Uint8Array(8));
    const [stream, datagram, seqpacket, closeOnExec] = [1, 2, 5, 0x80000];
    for (const type of [datagram, datagram | closeOnExec, seqpacket])
      expect(worked(await attempt("connect", attack, type))).toBe(-13);
    expect(worked(await attempt("all", attack, datagram))).toBe(0);
    expect(worked(await attempt("none", attack, stream | closeOnExec))).toBe(0);
  });
});

describe.skipIf(!hasSandbox)(sandboxed("kinds of sockets"), () => {
  const attack = ({ sys, nr }: Tools, [domain, type, protocol]: number[]) =>
    sys(nr.socket, domain as number, type as number, protocol as number);
  const [unix, inet, inet6, netlink, packet, vsock, alg] = [1, 2, 10, 16, 17, 40, 38];
  const [stream, datagram, raw, nonBlocking] = [1, 2, 3, 0x800];
  const [icmp, tcp, udp, sctp, smc, mptcp] = [1, 6, 17, 132, 256, 262];

  test("TCP is for 'connect' and 'listen', UDP for 'connect'; everything else is for none", async () => {
    const tcpSockets = [
      [inet, stream, 0],
      [inet6, stream, 0],
      [inet, stream | nonBlocking, tcp],
    ];
    const udpSockets = [
      [inet, datagram, 0],
      [inet6, datagram, udp],
    ];
    const others = [
      [inet, stream, mptcp],
      [inet6, stream, mptcp],
      [inet, stream, smc],
      [inet, stream, sctp],
      [inet, datagram, icmp],
      [inet, raw, icmp],
      [inet, raw, 255],
      [unix, stream, 0],
      [unix, datagram, 0],
      [netlink, raw, 0],
      [packet, raw, 0],
      [vsock, stream, 0],
      [alg, 5, 0],
      [inet, 5, 0],
    ];
    for (const [mod, allowed, refused] of [
      ["connect", [...tcpSockets, ...udpSockets], others],
      ["listen", tcpSockets, [...udpSockets, ...others]],
      ["none", [], [...tcpSockets, ...udpSockets, ...others]],
      ["files", [], [...tcpSockets, ...udpSockets, ...others]],
    ] as const) {
      for (const kind of allowed)
        expect([mod, kind, worked(await attempt(mod, attack, kind)) > 0]).toEqual([mod, kind, true]);
      for (const kind of refused)
        expect([mod, kind, worked(await attempt(mod, attack, kind))]).toEqual([mod, kind, -13]);
    }
    for (const kind of [
      [inet, stream, mptcp],
      [inet, datagram, 0],
      [unix, datagram, 0],
      [netlink, raw, 0],
    ])
      expect(worked(await attempt("all", attack, kind))).toBeGreaterThan(0);
  });

  test("a TCP socket does not become one of another kind", async () => {
    const upgrade = ({ sys, nr }: Tools) => {
      const fd = sys(nr.socket, 2, 1, 0);
      return sys(nr.setsockopt, fd, 6, 31, Buffer.from("smc"), 3);
    };
    expect(worked(await attempt("connect", upgrade))).toBe(-13);
    expect(worked(await attempt("all", upgrade))).not.toBe(-13);
  });

  test("node:dgram sends nothing without 'connect'", async () => {
    const send = ({ dgram }: Tools, port: number) =>
      new Promise((resolve, reject) => {
        const socket = dgram.createSocket("udp4").on("error", reject);
        socket.send("x", port, "127.0.0.1", (error) => {
          socket.close();
          if (error) reject(error);
          else resolve("sent");
        });
      });
    expect(worked(await attempt("connect", send, mine))).toBe("sent");
    refusal(await attempt("none", send, mine));
    refusal(await attempt("listen", send, mine));
  });
});

const listening: Record<string, (tools: Tools, port: number) => unknown> = {
  "net.createServer": ({ net }, port) =>
    new Promise((resolve, reject) => {
      const server = net.createServer().on("error", reject);
      server.listen(port, "127.0.0.1", () => server.close(() => resolve("listened")));
    }),
  "Bun.listen": (_, port) => {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
    return "listened";
  },
  "Bun.serve": async (_, port) => {
    await Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response("") }).stop(true);
    return "listened";
  },
};

describe.skipIf(!hasSandbox)(sandboxed("listening"), () => {
  for (const [name, attack] of Object.entries(listening)) {
    test(`by ${name}: on the ports that 'listen' declares, and no other`, async () => {
      expect(worked(await attempt("listen", attack, mine))).toBe("listened");
      for (const mod of ["listen", "connect", "none"]) refusal(await attempt(mod, attack, notMine));
      refusal(await attempt("listen", attack, 0));
      refusal(await attempt("none", attack, mine));
      expect(worked(await attempt("all", attack, notMine))).toBe("listened");
    });
  }

  test("not without bind, on a port that the kernel chooses", async () => {
    const attack = ({ sys, nr }: Tools) => {
      const fd = sys(nr.socket, 2, 1, 0);
      return fd < 0 ? fd : sys(nr.listen, fd, 1);
    };
    expect(worked(await attempt("connect", attack))).toBe(-13);
    expect(worked(await attempt("none", attack))).toBe(-13);
    expect(worked(await attempt("all", attack))).toBe(0);
  });

  test("not on a Unix socket", async () => {
    const attack = ({ net }: Tools, path: string) =>
      new Promise((resolve, reject) => {
        const server = net.createServer().on("error", reject);
        server.listen(path, () => server.close(() => resolve("listened")));
      });
    for (const path of [`${paths.socket}.new`, `${paths.abstract}.new`]) {
      for (const mod of ["listen", "files"]) refusal(await attempt(mod, attack, path));
      expect(worked(await attempt("all", attack, path))).toBe("listened");
    }
  });
});
