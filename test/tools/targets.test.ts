import { expect, test } from "bun:test";
import { parseTargets, releasePath, sha256sumLine } from "../../src/tools/targets.ts";

test("all nine targets are built without a list", () => {
  expect(parseTargets(undefined)).toHaveLength(9);
});

test("the targets of a list are built in the table's order", () => {
  expect(parseTargets("windows-x64, linux-x64")).toEqual(["linux-x64", "windows-x64"]);
});

test("an unknown target is refused, and the error lists the known ones", () => {
  expect(() => parseTargets("linux-x64,beos")).toThrow(/'beos'.*linux-x64.*windows-arm64/);
  expect(() => parseTargets("")).toThrow("Cannot build for ''");
});

test("the name of a built-in property is not a target", () => {
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
