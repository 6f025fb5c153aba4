#!/usr/bin/env bun
// First: a signal counts from the first moment on.
import "./signals.ts";
import { runClientCommand } from "./client-commands.ts";

process.exitCode = await runClientCommand(process.argv.slice(2));
