/**
 * Who is trusted: `trusted-keys.json` as text and as an answer to "may this key come in, and what may it do?".
 * Parsing and reading, editing, and watching each have a file; this one is the door to them.
 */
export { type Action, actions, type Grant } from "./grant.ts";
export {
  emptyTrustFile,
  parseTrustedKeys,
  readTrustedKeys,
  TrustedKeys,
  type TrustVerdict,
} from "./trust-file.ts";
export {
  addTrustedKey,
  confirmNextKey,
  removeTrustedKey,
  setNextKey,
  type TrustedKeyChanges,
  type TrustedKeyFields,
  type TrustFileEdit,
  trustKey,
} from "./trust-file-edit.ts";
export { type TrustedKeysWatch, type WatchOptions, watchTrustedKeys } from "./trust-file-watch.ts";
