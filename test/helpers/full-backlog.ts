/** A port that drops SYNs: it listens, never accepts, and its backlog is full. */
export class FullBacklog implements Disposable {
  readonly port: number;
  readonly #python: Bun.Subprocess<"pipe", "pipe", "inherit">;

  private constructor(port: number, python: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.port = port;
    this.#python = python;
  }

  static async start(): Promise<FullBacklog> {
    const python = Bun.spawn(["python3", "-c", script], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    const { value } = await python.stdout.getReader().read();
    return new FullBacklog(Number(new TextDecoder().decode(value)), python);
  }

  [Symbol.dispose](): void {
    this.#python.kill();
  }
}

const script = `
import socket, sys
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(0)
clients = []
while True:
    client = socket.socket()
    client.settimeout(0.3)
    clients.append(client)
    try:
        client.connect(server.getsockname())
    except OSError:
        break
print(server.getsockname()[1], flush=True)
sys.stdin.read()
`;
