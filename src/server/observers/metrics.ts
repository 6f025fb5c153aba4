import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from "prom-client";
import type { ModuleChange } from "../../modules/module-slot.ts";
import type { RefusedConnection, RequestRecord, ServerObserver } from "./observer.ts";

const contentType: OpenMetricsContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** What the gauges read, at each scrape. */
export interface MetricsSource {
  readonly sessions: ReadonlySet<{ readonly callsInFlight: number; readonly queuedBytes: number }>;
  /** How many modules can be called. */
  readonly moduleCount: number;
  readonly isDraining: boolean;
  /** Why it is not ready though it runs; undefined when it is. */
  readonly problem: string | undefined;
  /** The catalogue in use. */
  readonly catalogue: { readonly serial: number; readonly issued: string } | undefined;
  /** Whether all permissions are enforced. */
  readonly isSandboxed: boolean;
  stats(): readonly { readonly restarts: number; readonly memoryBytes?: number | undefined }[];
}

/** Counts what happens at a server, as OpenMetrics text. One per server; see `serveMetrics`. */
export class Metrics implements ServerObserver {
  readonly #registry = new Registry<OpenMetricsContentType>();
  readonly #options = { registers: [this.#registry] };
  #server: MetricsSource | undefined;

  readonly #connections = new Counter({
    ...this.#options,
    name: "veripy_connections",
    help: "Accepted connections.",
  });
  readonly #refusals = new Counter({
    ...this.#options,
    name: "veripy_refusals",
    help: "Connections that were not accepted, by reason.",
    labelNames: ["reason"],
  });
  readonly #requests = new Histogram({
    ...this.#options,
    name: "veripy_request_seconds",
    help: "From a request's arrival to its answer, by action, module and code.",
    labelNames: ["action", "mod", "code"],
    buckets: [
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
    ],
  });
  readonly #changes = new Counter({
    ...this.#options,
    name: "veripy_module_changes",
    help: "Loads, reloads, unloads and failures to load.",
    labelNames: ["kind"],
  });

  constructor() {
    this.#registry.setContentType(contentType);
    this.#gauge("veripy_clients", "Connected clients.", (server) => server.sessions.size);
    this.#gauge("veripy_calls_in_flight", "Calls being worked on.", (server) =>
      sum(server.sessions, (session) => session.callsInFlight),
    );
    this.#gauge("veripy_queued_bytes", "Output that clients have not taken yet.", (server) =>
      sum(server.sessions, (session) => session.queuedBytes),
    );
    this.#gauge("veripy_modules", "Modules that can be called.", (server) => server.moduleCount);
    this.#gauge(
      "veripy_sandbox_enforced",
      "1 if modules are held to all their permissions, otherwise 0.",
      (server) => (server.isSandboxed ? 1 : 0),
    );
    this.#gauge("veripy_host_restarts", "How often module hosts that run now were started again.", (server) =>
      sum(server.stats(), (stats) => stats.restarts),
    );
    this.#gauge("veripy_host_memory_bytes", "Resident memory of all module hosts.", (server) =>
      sum(server.stats(), (stats) => stats.memoryBytes ?? 0),
    );
    this.#gauge(
      "veripy_catalogue_serial",
      "Serial of the catalogue in use; 0 without one.",
      (server) => server.catalogue?.serial ?? 0,
    );
    this.#gauge(
      "veripy_catalogue_age_seconds",
      "Since the catalogue in use was issued; 0 without one.",
      (server) =>
        server.catalogue === undefined
          ? 0
          : Math.max(0, (Date.now() - Date.parse(server.catalogue.issued)) / 1_000),
    );
    this.#gauge("veripy_memory_bytes", "Resident memory of the server's own process.", () =>
      process.memoryUsage.rss(),
    );
  }

  /** Sets the server that the gauges read. */
  observe(server: MetricsSource): void {
    this.#server = server;
  }

  connected(): void {
    this.#connections.inc();
  }

  refused({ reason }: RefusedConnection): void {
    this.#refusals.inc({ reason });
  }

  answered({ action, mod, tree, code, durationMs }: RequestRecord): void {
    // Without a tree there is no such module: each name that a client makes up would be another time series.
    this.#requests.observe({ action, mod: tree === undefined ? "" : (mod ?? ""), code }, durationMs / 1000);
  }

  moduleChanged({ kind }: ModuleChange): void {
    this.#changes.inc({ kind });
  }

  /** The whole exposition, `# EOF` included. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return contentType;
  }

  #gauge(name: string, help: string, value: (server: MetricsSource) => number): void {
    const metrics = this;
    new Gauge({
      ...this.#options,
      name,
      help,
      collect() {
        if (metrics.#server !== undefined) this.set(value(metrics.#server));
      },
    });
  }
}

function sum<T>(items: Iterable<T>, of: (item: T) => number): number {
  let total = 0;
  for (const item of items) total += of(item);
  return total;
}
