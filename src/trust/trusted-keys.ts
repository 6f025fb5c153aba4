/**
 * The trust file, `trusted-keys.json`: who is let in, and what they may do. Parsing, editing and watching it have a file
 * each; import them from here.
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
  revokeTrustedKey,
  setNextKey,
  type TrustedKeyChanges,
  type TrustedKeyFields,
  type TrustFileEdit,
  trustKey,
} from "./trust-file-edit.ts";
export { type TrustedKeysWatch, type WatchOptions, watchTrustedKeys } from "./trust-file-watch.ts";
