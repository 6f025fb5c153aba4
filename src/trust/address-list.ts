import { BlockList, isIP } from "node:net";

/** A set of IP addresses, given as CIDR ranges (`10.0.0.0/8`, `2001:db8::/32`) or single addresses. */
export class AddressList {
  /** As given. */
  readonly ranges: readonly string[];
  readonly #ranges = new BlockList();

  /** Throws a RangeError for an invalid range. Its message is a clause about that range. */
  constructor(ranges: readonly string[]) {
    this.ranges = ranges;
    for (const range of ranges) this.#add(range);
  }

  /** IPv4-mapped IPv6 (`::ffff:10.1.2.3`, as reported by sockets for both families) counts as IPv4. */
  has(address: string): boolean {
    const plain = withoutZone(address);
    const version = isIP(plain);
    return version !== 0 && this.#ranges.check(plain, version === 4 ? "ipv4" : "ipv6");
  }

  #add(range: string): void {
    const [address = "", prefix, ...rest] = range.split("/");
    const version = isIP(address);
    if (version === 0 || rest.length > 0 || address.includes("%")) {
      throw new RangeError(`'${range}' is not an address range such as 10.0.0.0/8 or 2001:db8::/32`);
    }
    const family = version === 4 ? "ipv4" : "ipv6";
    const bits = version === 4 ? 32 : 128;
    if (prefix === undefined) {
      this.#ranges.addAddress(address, family);
      return;
    }
    if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) {
      throw new RangeError(`'${range}' must have a number from 0 to ${bits} after the slash`);
    }
    this.#ranges.addSubnet(address, Number(prefix), family);
  }
}

/** `fe80::1%eth0` → `fe80::1`: the zone names a local interface, not the peer. */
function withoutZone(address: string): string {
  const zone = address.indexOf("%");
  return zone < 0 ? address : address.slice(0, zone);
}
