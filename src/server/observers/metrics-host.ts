const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const wildcards = ["0.0.0.0", "::"];

/**
 * Checks the `Host` header of requests to an endpoint that listens on `hostname`. A web page can make
 * its own name resolve to this machine (DNS rebinding), and the browser then lets it read the answers. So `Host` must be
 * a loopback name or address, or `hostname`, with any port. If `hostname` stands for all addresses, any address is
 * accepted: only names can be rebound. A missing `Host` is accepted, because browsers always send one.
 */
export function hostFilter(hostname: string): (host: string | null) => boolean {
  const named = (hostname.includes(":") ? `[${hostname}]` : hostname).toLowerCase();
  const isWildcard = wildcards.includes(hostname);
  return (header) => {
    if (header === null) return true;
    const [, host = ""] = /^(\[[0-9a-f:.%]+\]|[^:[\]]+)(?::\d{1,5})?$/.exec(header.toLowerCase()) ?? [];
    return loopback.test(host) || host === named || (isWildcard && isAddress(host));
  };
}

function isAddress(host: string): boolean {
  return host.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host);
}
