import { expect, test } from "bun:test";
import { parseTargets, releasePath, sha256sumLine } from "../../src/tools/targets.ts";

test("without a list all nine targets are built", () => {
  expect(parseTargets(undefined)).toHaveLength(9);
});

test("a list is built in the table's order, whatever its own", () => {
  expect(parseTargets("windows-x64, linux-x64")).toEqual(["linux-x64", "windows-x64"]);
});

test("an unknown target is refused with its name and those that there are", () => {
  expect(() => parseTargets("linux-x64,beos")).toThrow(/'beos'.*linux-x64.*windows-arm64/);
  expect(() => parseTargets("")).toThrow("Cannot build for ''");
});

test("a name that every object has is no target", () => {
  expect(() => parseTargets("constructor")).toThrow("'constructor'");
});

test("only executables for Windows end in .exe", () => {
  expect(releasePath("dist", "veripy-server", "windows-arm64")).toEndWith("veripy-server-windows-arm64.exe");
  expect(releasePath("dist", "veripy-client", "linux-x64-musl")).toEndWith("veripy-client-linux-x64-musl");
});

test("a line of SHA256SUMS names the file without its folder", () => {
  expect(sha256sumLine("ab".repeat(32), "/some/where/dist/veripy-server")).toBe(
    `${"ab".repeat(32)}  veripy-server\n`,
  );
});
