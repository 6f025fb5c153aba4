import { Option } from "commander";
import { type SandboxMode, sandboxModes } from "../index.ts";
import { endpoint, type HostAndPort, hostAndPort, listenAddress } from "./addresses.ts";
import { deadline, duration, parsed, path, size, userName, wholeNumber } from "./flag-values.ts";

/** The flags that several commands share. Commander reads their environment variables; a flag wins over its variable. */
export const options = {
  interface: new Option("-i, --interface <address>", "address to listen on; localhost means IPv4 and IPv6")
    .argParser(parsed(listenAddress))
    .default("localhost")
    .env("VERIPY_INTERFACE"),
  listenPort: new Option("-p, --port <number>", "port to listen on; 0 picks a free port")
    .argParser(parsed(wholeNumber(0, 65_535)))
    .default(8443)
    .env("VERIPY_PORT"),
  mods: new Option("--mods <folder>", "folder with the modules").default("./mods").env("VERIPY_MODS"),
  certs: new Option("--certs <folder>", "folder with keys and certificates")
    .default("./certs")
    .env("VERIPY_CERTS"),
  clientCerts: new Option(
    "--certs <folder>",
    "folder with keys and certificates (default: certs in the home)",
  ).env("VERIPY_CERTS"),
  home: new Option(
    "--home <folder>",
    "this client's home (default: this folder if it has certs/client.key, else ~/.config/veripy)",
  )
    .argParser(parsed(path))
    .env("VERIPY_HOME"),
  lock: new Option(
    "--lock <file>",
    "the lock that says what is approved (default: veripy.lock in this folder, else in the home)",
  )
    .argParser(parsed(path))
    .env("VERIPY_LOCK"),
  noLock: new Option("--no-lock", "use no lock; what the home's lock denies still does not run"),
  // Not `.env(…)`, as for `--json`.
  locked: new Option("--locked", "refuse a server that the lock has no entry for (env: VERIPY_LOCKED)"),
  signers: new Option("--signers <file>", "allowed signers of a server's catalogue").argParser(parsed(path)),
  signer: new Option("--signer <name>", "the one of them that must have signed it"),
  trustedKeys: new Option("--trusted-keys <file>", "file that lists the trusted clients")
    .default("./trusted-keys.json")
    .env("VERIPY_TRUSTED_KEYS"),
  catalogue: new Option("--catalogue <file>", "catalogue of what is served; its signature is FILE.sig")
    .default("./veripy.catalogue")
    .env("VERIPY_CATALOGUE")
    .helpGroup("Catalogue:"),
  catalogueSigners: new Option(
    "--signers <file>",
    "allowed signers of the catalogue, see ssh-keygen(1); 'start' then loads nothing else",
  )
    .argParser(parsed(path))
    .env("VERIPY_SIGNERS")
    .helpGroup("Catalogue:"),
  catalogueName: new Option(
    "--catalogue-name <name>",
    "name that the catalogue must have (default: that of the first one)",
  ).helpGroup("Catalogue:"),
  minSerial: new Option("--min-serial <number>", "lowest serial of a catalogue that is accepted")
    .argParser(parsed(wholeNumber(1, 999_999_999_999_999)))
    .helpGroup("Catalogue:"),
  state: new Option(
    "--state <folder>",
    "folder for the serials that were accepted (default: $STATE_DIRECTORY, else ./.veripy)",
  )
    .argParser(parsed(path))
    .env("VERIPY_STATE")
    .helpGroup("Catalogue:"),
  catalogueSigner: new Option("--signer <name>", "the one of them that must have signed it").helpGroup(
    "Catalogue:",
  ),
  config: new Option(
    "--config <file>",
    "settings file, TOML (default: ./veripy-server.toml if it exists)",
  ).argParser(parsed(path)),
  eager: new Option("--eager", "load every module before listening, instead of afterwards").helpGroup(
    "Modules:",
  ),
  moduleUser: new Option("--module-user <user>", "run modules as this user (a name or UID:GID); needs root")
    .helpGroup("Modules:")
    .env("VERIPY_MODULE_USER"),
  moduleEnv: new Option("--module-env <name...>", "pass these environment variables to modules")
    .helpGroup("Modules:")
    .default([] as string[], "only PATH, HOME, LANG, TZ and TMPDIR"),
  moduleCgroup: new Option("--module-cgroup <folder>", "run modules in this cgroup (Linux)").helpGroup(
    "Modules:",
  ),
  sandbox: new Option("--sandbox <mode>", "hold modules to the permissions that they declare")
    .choices(sandboxModes)
    .default("best-effort" satisfies SandboxMode)
    .env("VERIPY_SANDBOX")
    .helpGroup("Modules:"),
  audit: new Option(
    "--audit <file>",
    "keep an audit log, one JSON object per line; refusals go to FILE.refused",
  ).helpGroup("Operation:"),
  auditRequired: new Option(
    "--audit-required",
    "run nothing while the audit log cannot be written",
  ).helpGroup("Operation:"),
  auditMaxSize: new Option("--audit-max-size <size>", "start a new audit file at this size (default: 64MiB)")
    .argParser(parsed(size))
    .helpGroup("Operation:"),
  auditKeep: new Option("--audit-keep <count>", "how many old audit files to keep (default: 5)")
    .argParser(parsed(wholeNumber(1, 1_000)))
    .helpGroup("Operation:"),
  logCalls: new Option("--log-calls", "log every call: client, module, version and outcome").helpGroup(
    "Operation:",
  ),
  metrics: new Option(
    "--metrics <[host:]port>",
    "serve /metrics, /healthz and /readyz; on 127.0.0.1 unless you name a host",
  )
    .argParser(parsed(endpoint))
    .helpGroup("Operation:"),
  logLevel: new Option("--log-level <level>", "log messages of this level and above")
    .choices(["trace", "debug", "info", "warning", "error", "fatal"])
    .env("VERIPY_LOG_LEVEL"),
  verbose: new Option("-v, --verbose", "print the steps of the connection on standard error"),
  // Not `.env(…)`: commander takes any value of a flag's variable for yes. See `jsonVariable`.
  json: new Option("--json", "print one JSON object per line instead of text (env: VERIPY_JSON)"),
  expires: new Option("--expires <duration>", "how long the code is valid")
    .argParser(
      parsed(
        duration.refine((ms) => ms > 0 && ms <= 7 * 86_400_000, "It must be more than 0 and at most 7d."),
      ),
    )
    .default(600_000, "10m"),
  host: new Option("-H, --host <host[:port]>", "server to connect to")
    .argParser(parsed(hostAndPort))
    .default({ host: "localhost", port: undefined } satisfies HostAndPort, "localhost")
    .env("VERIPY_HOST"),
  port: new Option("-p, --port <number>", "port of the server")
    .argParser(parsed(wholeNumber(1, 65_535)))
    .default(8443)
    .env("VERIPY_PORT"),
  user: new Option("--user <user>", "user to run the server as")
    .argParser(parsed(userName))
    .default("veripy"),
  serverFingerprint: new Option(
    "--server-fingerprint <hex>",
    "expected SHA-256 of the server's public key",
  ).env("VERIPY_SERVER_FINGERPRINT"),
  remember: new Option(
    "--remember",
    "save the key from --server-fingerprint in known-servers.json without asking",
  ),
  noRemember: new Option("--no-remember", "do not save it, and do not ask"),
  timeout: new Option("--timeout <duration>", "time limit for the call")
    .argParser(parsed(deadline))
    .default(30_000, "30s"),
  connectTimeout: new Option(
    "--connect-timeout <duration>",
    "time limit for connecting and for requests other than calls",
  )
    .argParser(parsed(deadline))
    .default(10_000, "10s"),
  keepalive: new Option("--keepalive <duration>", "ping a server that has been silent for this long")
    .argParser(parsed(duration.refine((ms) => ms >= 100, "It must be at least 100ms.")))
    .default(20_000, "20s")
    .env("VERIPY_KEEPALIVE"),
};
