import { TokenBucket } from "../../base/token-bucket.ts";

/** A line longer than this is handed on in pieces. */
const maxPending = 8 * 1024;
/** What is read of one stream in a second; then the writer waits. */
const bytesPerSecond = 1024 * 1024;

/**
 * Reads a child's standard stream line by line, to its end or until `signal` is aborted: programs that the child
 * has started may hold the stream open for as long as they like. A child that floods it is made to wait by not
 * reading on, so it costs the server a bounded share of its time.
 */
export async function readLines(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
  const decoder = new TextDecoder();
  let pending = "";
  const budget = new TokenBucket(bytesPerSecond, bytesPerSecond);
  try {
    for (;;) {
      const { value: chunk, done } = await reader.read();
      if (done) break;
      pending += decoder.decode(chunk, { stream: true });
      pending = takeLines(pending, onLine);
      const waitMs = budget.borrow(chunk.length);
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
    }
  } catch {
    // A stream that breaks with its process ends like one that is closed.
  }
  if (pending !== "") onLine(pending);
}

function takeLines(text: string, onLine: (line: string) => void): string {
  let from = 0;
  for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
    if (to > from) onLine(text.slice(from, text[to - 1] === "\r" ? to - 1 : to));
    from = to + 1;
  }
  let rest = text.slice(from);
  while (rest.length > maxPending) {
    onLine(rest.slice(0, maxPending));
    rest = rest.slice(maxPending);
  }
  return rest;
}
