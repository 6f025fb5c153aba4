import { statfs } from "node:fs/promises";

export const description = "Shows how full the file system at a path is; without a path, the one at /";

export async function execute(args: string): Promise<string> {
  const path = args.trim() || "/";
  const { bsize, blocks, bfree, bavail } = await statfs(path);
  const used = (blocks - bfree) * bsize;
  const available = bavail * bsize;
  // As df counts: what is reserved for root is neither used nor available.
  const percent = used + available === 0 ? 0 : Math.ceil((100 * used) / (used + available));
  return `${path}: ${gibibytes(used)} of ${gibibytes(blocks * bsize)} GiB used (${percent} %), ${gibibytes(available)} GiB available`;
}

function gibibytes(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(1);
}
