import { type ExecRequest, execRequest, parsePayload } from "../protocol/messages.ts";

/** Of a longer request most is arguments, and comparing it costs more than it saves. */
const maxRemembered = 4096;

/**
 * Reads the exec requests of one client: `{"mod","args","tree"?,"timeout_ms"?}`. A client that calls one module
 * over and over sends the same text around its arguments, and that text was parsed and checked the first time;
 * when it comes again, only the string in it is left to parse.
 */
export class ExecRequestReader {
  #head = "";
  #tail = "";
  #last: ExecRequest | undefined;

  /** Throws `bad_request` with the JSON path of the fault. */
  read(json: string): ExecRequest {
    const last = this.#last;
    if (last !== undefined && json.startsWith(this.#head) && json.endsWith(this.#tail)) {
      const args = stringIn(json.slice(this.#head.length, json.length - this.#tail.length));
      if (args !== undefined) return { ...last, args };
    }
    const request = parsePayload(execRequest, json);
    this.#remember(request, json);
    return request;
  }

  /** Only text that is exactly as `JSON.stringify` writes the request; others are parsed whole every time. */
  #remember(request: ExecRequest, json: string): void {
    if (json.length > maxRemembered) return;
    const { mod, args, ...rest } = request;
    const head = `{"mod":${JSON.stringify(mod)},"args":`;
    const others = JSON.stringify(rest).slice(1);
    const tail = others === "}" ? others : `,${others}`;
    if (json !== head + JSON.stringify(args) + tail) return;
    this.#head = head;
    this.#tail = tail;
    this.#last = request;
  }
}

/** The value of a JSON text that is one string; undefined for any other text. */
function stringIn(json: string): string | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
