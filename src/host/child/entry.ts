// Where a module host begins when VeriPy runs uncompiled; the executable has its own way (cli/server.ts).
import { runModuleHost } from "./main.ts";

await runModuleHost();
