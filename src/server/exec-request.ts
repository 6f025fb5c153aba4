import { quote } from "../base/json-string.ts";
import type { Frame } from "../protocol/frame.ts";
import { execRequest, parsePayload } from "../protocol/messages.ts";

/** An exec request, its arguments as a JSON string literal. */
export interface ReadExecRequest {
  readonly mod: string;
  readonly argsJson: string;
  readonly tree: string | undefined;
  readonly timeoutMs: number | undefined;
}

/** What stands around the arguments of a request. */
interface Known extends Omit<ReadExecRequest, "argsJson"> {
  readonly head: string;
  readonly tail: string;
}

/**
 * Reads the exec requests of one client: `{"mod","args","tree"?,"timeout_ms"?}`. A client that calls one module
 * over and over sends the same text around its arguments, and that text was parsed and checked the first time;
 * when it comes again, only the string in it is left to look at.
 */
export class ExecRequestReader {
  #known: Known | undefined;

  /** Throws `bad_request` with the JSON path of the fault. */
  read(frame: Frame): ReadExecRequest {
    const known = this.#known;
    if (known !== undefined) {
      const argsJson = frame.literalBetween(known.head, known.tail);
      if (argsJson !== undefined)
        return { mod: known.mod, argsJson, tree: known.tree, timeoutMs: known.timeoutMs };
    }
    const { mod, args, tree, timeout_ms: timeoutMs } = parsePayload(execRequest, frame.json);
    // As `JSON.stringify` writes the request. One that is written in another way never matches.
    const others = JSON.stringify({ tree, timeout_ms: timeoutMs }).slice(1);
    const head = `{"mod":${quote(mod)},"args":`;
    this.#known = { mod, tree, timeoutMs, head, tail: others === "}" ? others : `,${others}` };
    return { mod, argsJson: quote(args), tree, timeoutMs };
  }
}
