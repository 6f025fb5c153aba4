import { join } from "node:path";
import { LineClient } from "./line-client.ts";
import { eventually } from "./within.ts";

export interface ParsedFrame {
  /** `mod:sync_resp` */
  readonly header: string;
  readonly ref: string;
  readonly payload: Record<string, unknown>;
}

/** Connects with the key in a folder that `veripy-client init` created, or without a certificate. */
export async function dial(port: number, certs?: string): Promise<LineClient> {
  if (certs === undefined) return LineClient.connect({ port });
  const [keyPem, certificatePem] = await Promise.all(
    ["client.key", "client.crt"].map((name) => Bun.file(join(certs, name)).text()),
  );
  return LineClient.connect({
    port,
    identity: { keyPem: keyPem ?? "", certificatePem: certificatePem ?? "" },
  });
}

/** Sends a request and resolves with the next frame that has its ref. */
export async function request(
  client: LineClient,
  header: string,
  payload: object,
  ref = "1",
): Promise<ParsedFrame> {
  const before = client.lines.length;
  client.send(`${header}:${ref} ${JSON.stringify(payload)}\n`);
  const find = () =>
    client.lines
      .slice(before)
      .map(parseLine)
      .find((frame) => frame.ref === ref);
  return eventually(`an answer to ${header}`, find, 8_000).catch((error: Error) => {
    throw new Error(`${error.message} What came: ${client.lines.slice(before).join("\n").slice(0, 2_000)}`);
  });
}

function parseLine(line: string): ParsedFrame {
  const [, header, ref, json] = /^(\w+:\w+):([\w.-]+) (.*)$/s.exec(line) ?? [];
  if (header === undefined || ref === undefined || json === undefined)
    throw new Error(`Not a frame: ${line}`);
  return { header, ref, payload: JSON.parse(json) as Record<string, unknown> };
}
