#!/usr/bin/env bun
// The executable starts itself again as a module host. That start must be quick, so the command line is loaded only when
// it is needed.
if (process.argv[2] === "module-host") {
  const { enterSandbox } = await import("../host/child/enter-sandbox.ts");
  enterSandbox();
  const { runModuleHost } = await import("../host/child/main.ts");
  await runModuleHost();
} else {
  const { runServerCommand } = await import("./server-commands.ts");
  process.exitCode = await runServerCommand(process.argv.slice(2));
}
