import { arch, cpus, freemem, hostname, loadavg, release, totalmem, type, uptime } from "node:os";

export const description = "Shows host name, system, load, memory and uptime";

export async function execute(): Promise<string> {
  return [
    `Host:    ${hostname()}`,
    `System:  ${type()} ${release()} ${arch()}`,
    `Load:    ${loadavg()
      .map((load) => load.toFixed(2))
      .join(" ")} on ${cpus().length} CPUs`,
    `Memory:  ${gibibytes(totalmem() - freemem())} of ${gibibytes(totalmem())} GiB in use`,
    `Uptime:  ${duration(uptime())}`,
  ].join("\n");
}

function gibibytes(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(1);
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes / 60) % 24} h ${minutes % 60} min`;
}
