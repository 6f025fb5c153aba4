export interface UnitOptions {
  /** Absolute path of the executable. */
  readonly executable: string;
  /** The directory with mods/, certs/ and trusted-keys.json. */
  readonly directory: string;
  readonly user: string;
  /** The flags of `veripy-server start`. */
  readonly args: readonly string[];
  /** The port that the server listens on, whether or not `args` says so. */
  readonly port: number;
}

/**
 * A systemd unit for a server, hardened as far as most modules allow: they can read the system, but write only to the
 * server's directory. See `systemd.exec(5)`; `systemd-analyze security` rates it.
 */
export function systemdUnit({ executable, directory, user, args, port }: UnitOptions): string {
  // A port below 1024 needs this one capability; the server needs no other.
  const capability = port < 1024 ? "CAP_NET_BIND_SERVICE" : "";
  return `[Unit]
Description=VeriPy server
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=30s
ExecStart=${[executable, "start", ...args].map(commandWord).join(" ")}
WorkingDirectory=${withoutSpecifiers(directory)}
User=${user}
Restart=on-failure
RestartSec=1s
TimeoutStopSec=20s
KillMode=mixed

# What modules can do at most, whatever they declare. Loosen a line if a module needs it.
NoNewPrivileges=yes
CapabilityBoundingSet=${capability}
AmbientCapabilities=${capability}
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths=${listWord(directory)}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
# The last three are for the sandbox of modules. A refused call is an error, not the end of the process.
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
UMask=0077
LimitNOFILE=65536
# No MemoryDenyWriteExecute: the JavaScript engine compiles at run time.

[Install]
WantedBy=multi-user.target
`;
}

// A path is written differently in each of three kinds of settings: see systemd.syntax(7) and systemd.service(5).

/** In every setting, `%` begins a specifier. */
function withoutSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}

/** On a command line, quotes hold words together, and `\` begins an escape inside and outside of them. */
function commandWord(text: string): string {
  const escaped = withoutSpecifiers(text).replaceAll("\\", "\\\\");
  return /[\s"']/.test(text) ? `"${escaped.replaceAll('"', '\\"')}"` : escaped;
}

/** In a list of paths, quotes hold words together but nothing can be escaped: a quote goes into quotes of the other kind. */
function listWord(text: string): string {
  const plain = withoutSpecifiers(text);
  return /[\s"']/.test(text) ? `'${plain.replaceAll("'", `'"'"'`)}'` : plain;
}
