#!/usr/bin/env bun
import { runClientCommand } from "./client-commands.ts";

process.exitCode = await runClientCommand(process.argv.slice(2));
