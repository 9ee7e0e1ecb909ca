import { Command } from 'commander';
import { VERSION } from './version.js';

/** What each command is made by; a command that is not meant is not loaded. */
const COMMANDS: Readonly<Record<string, (program: Command) => Promise<Command>>> = {
  init: async () => (await import('./init.js')).initCommand(),
  serve: async () => (await import('./serve.js')).serveCommand(),
  vm: async () => (await import('./vm.js')).vmCommand(),
  'qemu-args': async () => (await import('./qemu-args-command.js')).qemuArgsCommand(),
  ctl: async () => (await import('./ctl.js')).ctlCommand(),
  save: async () => (await import('./save.js')).saveCommand(),
  upgrade: async () => (await import('./upgrade.js')).upgradeCommand(),
  show: async () => (await import('./show.js')).showCommand(),
  inspect: async () => (await import('./inspect.js')).inspectCommand(),
  replay: async () => (await import('./replay.js')).replayCommand(),
  wireshark: async () => (await import('./wireshark.js')).wiresharkCommand(),
  doctor: async () => (await import('./doctor.js')).doctorCommand(),
  completion: async (program) => (await import('./completion.js')).completionCommand(program),
};

/**
 * All commands and their options.
 *
 * @param word - what is written first: where it is a command, that one alone is there, unless it is one about all of them.
 */
export async function makeProgram(word?: string): Promise<Command> {
  const program: Command = new Command('virtio-misc')
    .description('virtio devices in TypeScript for a stock QEMU, and a guest to try them in')
    .version(VERSION)
    .showSuggestionAfterError()
    .showHelpAfterError('(--help says more)')
    .exitOverride();
  const one = word !== undefined && word !== 'completion' && Object.hasOwn(COMMANDS, word);
  for (const name of one ? [word] : Object.keys(COMMANDS)) {
    const command = await COMMANDS[name]!(program);
    program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}
