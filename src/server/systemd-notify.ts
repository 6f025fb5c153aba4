import { type Library, ptr } from "bun:ffi";
import { openLibc } from "../base/libc.ts";
import { loggerOf } from "../base/log.ts";

const log = loggerOf("server");

// sys/socket.h and sys/un.h; the same on every Linux architecture that Bun runs on.
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const maxPathBytes = 107;
const functions = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "usize", "i32", "ptr", "u32"], returns: "i64" },
} as const;

/**
 * Notifies systemd as `sd_notify(3)` describes: state lines in a datagram to the socket that `NOTIFY_SOCKET` names. It
 * uses `bun:ffi`, because Bun has no Unix datagram sockets.
 */
export class SystemdNotifier {
  readonly #libc: Library<typeof functions>;
  readonly #address: Buffer;
  readonly #socket: number;
  #watchdog: ReturnType<typeof setInterval> | undefined;

  private constructor(libc: Library<typeof functions>, address: Buffer, socket: number) {
    this.#libc = libc;
    this.#address = address;
    this.#socket = socket;
  }

  /** Undefined when there is nothing to notify, or no way to do it. `path` is the value of `NOTIFY_SOCKET`. */
  static to(path: string | undefined): SystemdNotifier | undefined {
    if (path === undefined || path === "" || process.platform !== "linux") return undefined;
    const name = Buffer.from(path);
    const libc = openLibc(functions);
    if (libc === undefined || name.length > maxPathBytes || !/^[/@]/.test(path)) {
      log.error("Cannot notify systemd at {path}.", { path });
      return undefined;
    }
    // struct sockaddr_un: the family in native order, then the path; `@` stands for the abstract namespace.
    const address = Buffer.concat([Buffer.from(new Uint16Array([AF_UNIX]).buffer), name]);
    if (path.startsWith("@")) address[2] = 0;
    const socket = libc.symbols.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    return socket < 0 ? undefined : new SystemdNotifier(libc, address, socket);
  }

  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`);
  }

  stopping(): void {
    clearInterval(this.#watchdog);
    this.#send("STOPPING=1");
  }

  /** Reports twice per interval that the event loop is alive. `usec` is the value of `WATCHDOG_USEC`. */
  startWatchdog(usec: string | undefined): void {
    const intervalMs = Number(usec) / 2_000;
    if (!(intervalMs > 0)) return;
    this.#watchdog = setInterval(() => this.#send("WATCHDOG=1"), intervalMs);
    this.#watchdog.unref();
  }

  #send(state: string): void {
    const message = Buffer.from(state);
    const flags = 0x40; // MSG_DONTWAIT: a manager that does not read must not block the server.
    this.#libc.symbols.sendto(
      this.#socket,
      ptr(message),
      message.length,
      flags,
      ptr(this.#address),
      this.#address.length,
    );
  }
}
