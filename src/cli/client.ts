#!/usr/bin/env bun
// Imported first, so that signals are handled from the beginning.
import "./signals.ts";
import { runClientCommand } from "./client-commands.ts";

process.exitCode = await runClientCommand(process.argv.slice(2));
