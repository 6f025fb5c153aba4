import { isSystemError, VeripyError } from "../../base/errors.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import type { Metrics, MetricsSource } from "./metrics.ts";
import { hostFilter } from "./metrics-host.ts";

export { Metrics } from "./metrics.ts";

export interface MetricsEndpoint {
  readonly port: number;
  stop(): void;
}

/**
 * Serves `/metrics`, `/healthz` (the process answers) and `/readyz` (it takes calls) over plain HTTP. It shows
 * module names and load to everybody who can reach it, so it belongs on a loopback address. A request whose `Host` is
 * neither a loopback address nor `hostname` gets status 421.
 */
export function serveMetrics(
  metrics: Metrics,
  server: MetricsSource,
  hostname: string,
  port: number,
): MetricsEndpoint {
  metrics.observe(server);
  const isMeantForThis = hostFilter(hostname);
  const endpoint = listen(hostname, port, (request) => {
    if (isMeantForThis(request.headers.get("host"))) return answer(request, metrics, server);
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const refusal = `Refused: the Host header must be localhost, a loopback address, or ${host} as given to --metrics.\n`;
    return new Response(refusal, { status: 421 });
  });
  return { port: endpoint.port ?? port, stop: () => void endpoint.stop(true) };
}

/** Throws if `serveMetrics` would. Nothing stays open. */
export function probeMetrics(hostname: string, port: number): void {
  if (port !== 0) void listen(hostname, port, () => new Response()).stop(true);
}

function listen(hostname: string, port: number, fetch: (request: Request) => Response | Promise<Response>) {
  try {
    return Bun.serve({ hostname, port, fetch });
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot serve metrics on ${hostname}:${port}: ${why(error)}.`, {
      cause: error,
    });
  }
}

/** For an address that this machine does not have, the runtime reports `ENOTTY`. */
function why(error: unknown): string {
  if (isSystemError(error, "EADDRINUSE", "EACCES", "EPERM")) return reasonOf(error);
  return "this machine has no such address";
}

function readiness({ isDraining, problem }: MetricsSource): Response {
  const why = isDraining ? "stopping" : problem;
  if (why !== undefined) return new Response(`${why}\n`, { status: 503 });
  return new Response("ready\n");
}

async function answer(request: Request, metrics: Metrics, server: MetricsSource): Promise<Response> {
  // Without a `Host` header, the URL is only a path.
  switch (new URL(request.url, "http://localhost").pathname) {
    case "/metrics":
      return new Response(await metrics.text(), { headers: { "Content-Type": metrics.contentType } });
    case "/healthz":
      return new Response("ok\n");
    case "/readyz":
      return readiness(server);
    default:
      return new Response("There is /metrics, /healthz and /readyz.\n", { status: 404 });
  }
}
