import { configure, type LogRecord, reset } from "@logtape/logtape";

/** What the library logs, kept in memory. */
export class LogRecords {
  #records: LogRecord[] = [];

  /** Begins anew. */
  async start(): Promise<void> {
    this.#records = [];
    await configure({
      reset: true,
      sinks: { memory: (record) => this.#records.push(record) },
      loggers: [
        { category: "veripy", sinks: ["memory"], lowestLevel: "debug" },
        { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
      ],
    });
  }

  async stop(): Promise<void> {
    await reset();
  }

  get texts(): string[] {
    return this.#records.map(({ message }) => message.join(""));
  }
}
