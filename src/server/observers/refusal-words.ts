import type { RefusalReason } from "../../tls/refusal.ts";

/** How the log explains a refusal whose reason alone does not say what happened and what to do. */
const words: Partial<Record<RefusalReason, string>> = {
  no_certificate: "it showed no certificate",
  handshake_failed: "it was closed before the TLS handshake was complete",
  handshake_timeout: "the TLS handshake was not complete in time, see --handshake-timeout",
  rate_limited: "this address connects more often than --handshake-rate and --handshake-burst allow",
  too_many_handshakes:
    "too many handshakes are unfinished, see --max-handshakes and --max-handshakes-per-address",
  out_of_descriptors: "this process is running out of file descriptors, see 'ulimit -n'",
};

/** `reason`, with its explanation if there is one. */
export function explainRefusal(reason: RefusalReason): string {
  const text = words[reason];
  return text === undefined ? reason : `${text} (${reason})`;
}
