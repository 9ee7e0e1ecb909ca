import type { Command } from 'commander';

/** The manual page of a program, in roff (man(7)), with all that its `--help` says. */
export function manPage(program: Command): string {
  const help = program.createHelp();
  const lines = [
    `.TH ${program.name().toUpperCase()} 1 "" "${program.name()} ${program.version()}"`,
    '.SH NAME',
    `${roff(program.name())} \\- ${roff(program.description())}`,
    '.SH SYNOPSIS',
    `.B ${roff(program.name())}`,
    '.I command',
    '[options]',
    '.SH COMMANDS',
  ];
  for (const command of help.visibleCommands(program).filter((known) => known.name() !== 'help')) {
    lines.push(`.SS ${roff(help.commandUsage(command))}`, ...asItStands(command.description()));
    for (const argument of help.visibleArguments(command))
      lines.push('.TP', `.I ${roff(help.argumentTerm(argument))}`, roff(help.argumentDescription(argument)));
    for (const option of help.visibleOptions(command))
      lines.push('.TP', `.B ${roff(help.optionTerm(option))}`, roff(help.optionDescription(option)));
  }
  lines.push(
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, what]) => ['.TP', `.B ${name}`, roff(what)]),
    '.SH EXIT STATUS',
    roff("0 when all went well, 1 when it did not, and a command's own in a guest."),
  );
  return `${lines.join('\n')}\n`;
}

/** What the program reads of its environment. */
const ENVIRONMENT: readonly (readonly [name: string, what: string])[] = [
  ['VIRTIO_MISC_ACCEL', "QEMU's accelerator, as --accel has it."],
  [
    'VIRTIO_MISC_CACHE',
    'Where what is fetched and built for guests is kept; ~/.cache/virtio-misc unless set.',
  ],
  ['VIRTIO_MISC_DEBIAN_MIRROR', "The address of a mirror of Debian; that of the machine's apt unless set."],
  ['VIRTIO_MISC_QEMU', 'The QEMU to take.'],
  ['VIRTIO_MISC_DEBUG', 'Shows the stack of an error, when set.'],
];

function asItStands(text: string): string[] {
  return ['.nf', ...text.split('\n').map(roff), '.fi'];
}

/** A line that is text and nothing else. */
function roff(text: string): string {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
