import { Command } from 'commander';
import { completionCommand } from './completion.js';
import { ctlCommand } from './ctl.js';
import { doctorCommand } from './doctor.js';
import { initCommand } from './init.js';
import { inspectCommand } from './inspect.js';
import { qemuArgsCommand } from './qemu-args-command.js';
import { replayCommand } from './replay.js';
import { saveCommand } from './save.js';
import { serveCommand } from './serve.js';
import { showCommand } from './show.js';
import { upgradeCommand } from './upgrade.js';
import { VERSION } from './version.js';
import { vmCommand } from './vm.js';
import { wiresharkCommand } from './wireshark.js';

/** All commands and their options. */
export function makeProgram(): Command {
  const program: Command = new Command('virtio-misc')
    .description('virtio devices in TypeScript for a stock QEMU, and a guest to try them in')
    .version(VERSION)
    .showSuggestionAfterError()
    .showHelpAfterError('(--help says more)')
    .exitOverride();
  for (const command of [
    initCommand(),
    serveCommand(),
    vmCommand(),
    qemuArgsCommand(),
    ctlCommand(),
    saveCommand(),
    upgradeCommand(),
    showCommand(),
    inspectCommand(),
    replayCommand(),
    wiresharkCommand(),
    doctorCommand(),
    completionCommand(program),
  ]) {
    program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}
