/**
 * VeriPy as a library: everything that the two commands are built on.
 *
 *     const server = await serve({ modsDir: "./mods" });
 *     const client = await connect({ host: "localhost" });
 */
export type { Approval, ApprovalChange, ApprovalState } from "./approvals/approval.ts";
export type { DecisionRecord } from "./approvals/decision-log.ts";
export type { FileDifference, ManifestDifference, VersionDifference } from "./approvals/difference.ts";
export type { ApprovedModule } from "./approvals/lock.ts";
export type { StoredFile } from "./approvals/source-store.ts";
export {
  type ErrorCode,
  messageOf,
  type Started,
  VeripyError,
  type WireCode,
} from "./base/errors.ts";
export { checkClientFiles } from "./base/file-modes.ts";
export { isThere as pathExists } from "./base/files.ts";
export { defaultLimits, type Limits } from "./base/limits.ts";
export { plainWords } from "./base/plain-issue.ts";
export { reasonOf } from "./base/plain-reason.ts";
export { printable } from "./base/printable.ts";
export { shellQuoted } from "./base/shell-quote.ts";
export { didYouMean } from "./base/similar.ts";
export { snakeKeys } from "./base/snake-case.ts";
export { type ParsedToml, readToml, type TomlTable } from "./base/strict-toml.ts";
export { version } from "./base/version.ts";
export { type AllowedSigner, readAllowedSigners } from "./catalogue/allowed-signers.ts";
export type { Catalogue, CatalogueServer } from "./catalogue/catalogue.ts";
export type { CatalogueSignature } from "./catalogue/signed-catalogue.ts";
export { Approvals, type DecideOptions } from "./client/approvals.ts";
export {
  connect,
  VeripyClient,
  type VeripyClientEvents,
} from "./client/client.ts";
export { certsFolder, findHome, findLock, type LockQuery, makeHome } from "./client/client-home.ts";
export type { ConnectOptions, RememberServer } from "./client/connect-options.ts";
export type { ClientSession, ServerNews } from "./client/connection.ts";
export { examineClient } from "./client/doctor.ts";
export type { ExecOptions, ExecResult } from "./client/exec.ts";
export {
  type ExecHost,
  type ExecOnOptions,
  execOn,
  type HostOutcome,
} from "./client/exec-on.ts";
export { type Finding, fault as faultFinding } from "./client/finding.ts";
export { type JoinOptions, type JoinResult, join } from "./client/join.ts";
export type { Mismatch } from "./client/mismatch.ts";
export { activityBetween, type ModuleActivity } from "./client/module-activity.ts";
export type { CallArguments } from "./client/module-calls.ts";
export type { ModuleDescription } from "./client/module-description.ts";
export {
  type DecisionPlace,
  type DecisionQuery,
  type RemovedApproval,
  readDecisionLog,
  removeApprovals,
} from "./client/offline-decisions.ts";
export type { ModuleDifference } from "./client/report-difference.ts";
export {
  type ClientRotation,
  type RotateClientOptions,
  type RotatedServer,
  rotateClientKey,
  type ServerAddress,
} from "./client/rotate.ts";
export { seenModules } from "./client/seen-modules.ts";
export { ServerCatalogue } from "./client/server-catalogue.ts";
export type { ServerKeyNews } from "./client/server-key-follower.ts";
export { readStoredVersion, type StoredVersion } from "./client/stored-version.ts";
export {
  type RejectedModule,
  type Verdict,
  VerificationError,
  type VerifiedFile,
  type VerifiedModule,
} from "./client/verifier.ts";
export type { VerifyAllOptions, VerifyOutcome } from "./client/verify-each.ts";
export { watchModules } from "./client/watch.ts";
export type { VerdictCause, WatchEvent } from "./client/watch-event.ts";
export type {
  DeclaredPermissions,
  Execute,
  ModuleContext,
  ModuleExports,
  ModuleLimits,
  ModuleLog,
  Permissions,
} from "./host/api.ts";
export { moduleDeclarations } from "./host/module-declarations.ts";
export type { HostOptions } from "./host/parent/module-host.ts";
export { type SandboxMode, sandboxModes } from "./host/parent/sandbox-mode.ts";
export { type SandboxSupport, sandboxSupport } from "./host/parent/sandbox-support.ts";
export { findSystemUser } from "./host/parent/system-user.ts";
export { type Fingerprint, isFingerprint, parseFingerprint } from "./identity/fingerprint.ts";
export { type Identity, loadIdentity, loadOrCreateIdentity, renewCertificate } from "./identity/identity.ts";
export { refuseWithoutServer } from "./identity/server-home.ts";
export {
  type ArgumentField,
  type ArgumentFields,
  argumentFields,
  argumentUsage,
  type JsonType,
} from "./manifest/argument-fields.ts";
export { ArgumentsError, buildArguments } from "./manifest/build-arguments.ts";
export type { CheckedModule } from "./modules/check.ts";
export type { ModuleChange } from "./modules/module-slot.ts";
export type {
  ExecProgress,
  InfoResponse,
  ModuleReport,
  ModuleStats,
  ReportedPermissions,
  SandboxStatus,
  StatsResponse,
} from "./protocol/messages.ts";
export type { CatalogueRules } from "./server/catalogue/catalogue-source.ts";
export {
  type CatalogueDifference,
  type CatalogueState,
  type CatalogueStateOptions,
  catalogueState,
} from "./server/catalogue/catalogue-state.ts";
export {
  type NewCatalogueOptions,
  nextCatalogue,
  type SignOptions,
  signCatalogue,
} from "./server/catalogue/sign-catalogue.ts";
export { refuseSignedTrust, trustIsSigned } from "./server/catalogue/signed-trust.ts";

export { defaultSigningKey } from "./server/catalogue/ssh-keygen.ts";
export { type CheckOptions, checkModules } from "./server/check.ts";
export { disconnectKey, listConnections, retireVersions } from "./server/control.ts";
export type { ConnectionRecord, DisconnectedKey, RetiredVersions } from "./server/control-messages.ts";
export { type InitOptions, type InitResult, initServer } from "./server/init.ts";
export {
  beginServerRotation,
  finishServerRotation,
  type ServerRotation,
} from "./server/keys/server-rotation.ts";
export type { AuditOptions } from "./server/observers/audit-log.ts";
export type {
  CallRecord,
  CatalogueChange,
  ClientLabel,
  PeerLabel,
  RefusedConnection,
  RequestRecord,
  ServerObserver,
  TrustChange,
  TrustEdit,
} from "./server/observers/observer.ts";
export type { VeripyServerEvents } from "./server/observers/server-events.ts";
export type { ServeOptions } from "./server/serve-options.ts";
export { serve, VeripyServer } from "./server/server.ts";
export type { ConnectedClient } from "./server/session.ts";
export { SystemdNotifier } from "./server/systemd-notify.ts";
export { systemdUnit, type UnitOptions } from "./server/systemd-unit.ts";
export {
  createInvitation,
  type InviteOptions,
  listInvitations,
  type OpenInvitation,
  revokeInvitations,
} from "./trust/invitations.ts";
export { readKnownServers } from "./trust/known-servers.ts";
export { type AssertionResult, parseAssertions, testPolicy } from "./trust/policy.ts";
export {
  type ForgottenServer,
  forgetServer,
  type TrustedServer,
  trustServer,
} from "./trust/trust-server.ts";
export {
  type Action,
  addTrustedKey,
  type Grant as TrustedKey,
  readTrustedKeys,
  removeTrustedKey,
  revokeTrustedKey,
  type TrustedKeyChanges,
  type TrustedKeyFields,
  trustKey,
} from "./trust/trusted-keys.ts";
