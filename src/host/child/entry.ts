// Where a module host begins when VeriPy runs uncompiled; the executable has its own way (cli/server.ts).
import { enterSandbox } from "./enter-sandbox.ts";

enterSandbox();
// On demand: what comes before the sandbox is loaded twice.
const { runModuleHost } = await import("./main.ts");
await runModuleHost();
