export interface UnitOptions {
  /** Absolute path of the executable. */
  readonly executable: string;
  /** The directory with mods/, certs/ and trusted-keys.json. */
  readonly directory: string;
  readonly user: string;
  /** The address to listen on, as `--interface` takes it. */
  readonly hostname: string;
  readonly port: number;
}

/**
 * A systemd unit for a server, hardened as far as modules usually bear: they can read the system and write
 * nowhere but in the server's directory. See `systemd.exec(5)`; `systemd-analyze security` rates it.
 */
export function systemdUnit({ executable, directory, user, hostname, port }: UnitOptions): string {
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
ExecStart=${commandWord(executable)} start --interface ${commandWord(hostname)} --port ${port}
WorkingDirectory=${withoutSpecifiers(directory)}
User=${user}
Restart=on-failure
RestartSec=1s
TimeoutStopSec=20s
KillMode=mixed

# What a module may do is what this service may do. Loosen a line for the module that needs it.
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
SystemCallFilter=@system-service
UMask=0077
LimitNOFILE=65536
# No MemoryDenyWriteExecute: the JavaScript engine compiles at run time.

[Install]
WantedBy=multi-user.target
`;
}

// Three kinds of settings, three ways to write a path: systemd.syntax(7) and systemd.service(5).

/** In all of them, `%` begins a specifier. */
function withoutSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}

/** On a command line quotes hold words together, and `\` begins an escape in them as elsewhere. */
function commandWord(text: string): string {
  const escaped = withoutSpecifiers(text).replaceAll("\\", "\\\\");
  return /[\s"']/.test(text) ? `"${escaped.replaceAll('"', '\\"')}"` : escaped;
}

/** In a list of paths quotes hold words together, but nothing can be escaped: a quote stands in quotes of the other kind. */
function listWord(text: string): string {
  const plain = withoutSpecifiers(text);
  return /[\s"']/.test(text) ? `'${plain.replaceAll("'", `'"'"'`)}'` : plain;
}
