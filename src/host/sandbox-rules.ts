/**
 * What a module's process may touch, worked out by the server and applied by the process to itself before it reads
 * anything of the module. It travels as JSON in this variable of the process's first environment.
 */
export const sandboxVariable = "VERIPY_HOST_SANDBOX";

export interface SandboxRules {
  /** Each path with the sum of its `fileRights`; a folder's count for everything below it. */
  readonly paths: readonly (readonly [path: string, rights: number])[];
  /** TCP ports. */
  readonly connect: readonly number[];
  readonly listen: readonly number[];
}

/** Landlock's access rights for files (`LANDLOCK_ACCESS_FS_*` in `linux/landlock.h`), and the ABI that brought each. */
export const fileRights = {
  execute: 1 << 0,
  writeFile: 1 << 1,
  readFile: 1 << 2,
  readDir: 1 << 3,
  removeDir: 1 << 4,
  removeFile: 1 << 5,
  makeChar: 1 << 6,
  makeDir: 1 << 7,
  makeReg: 1 << 8,
  makeSock: 1 << 9,
  makeFifo: 1 << 10,
  makeBlock: 1 << 11,
  makeSym: 1 << 12,
  refer: 1 << 13,
  truncate: 1 << 14,
  ioctlDev: 1 << 15,
} as const;

const { readFile, readDir } = fileRights;

export const readRights = readFile | readDir;
export const runRights = fileRights.execute | readFile;
/** Devices and sockets are made by no module. */
export const writeRights =
  fileRights.writeFile |
  fileRights.truncate |
  fileRights.removeDir |
  fileRights.removeFile |
  fileRights.makeDir |
  fileRights.makeReg |
  fileRights.makeFifo |
  fileRights.makeSym |
  fileRights.refer;
