/**
 * `best-effort`: modules are held to their permissions as far as the system can; `enforce`: a server does not start where
 * it cannot; `off`: permissions are shown, and not enforced.
 */
export const sandboxModes = ["best-effort", "enforce", "off"] as const;
export type SandboxMode = (typeof sandboxModes)[number];
