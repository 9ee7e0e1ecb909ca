import { Argument, Command, type Option } from 'commander';
import { isDeviceFile } from '../device-file/is-device-file.js';
import { DEVICE_NAMES } from './device-options.js';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** Asks this program for the words that may come next; what is in `$w` ends with the word that is being written. */
const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `_virtio_misc() {
  local IFS=$'\\n' w=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  COMPREPLY=($(virtio-misc completion words -- "\${w[@]}" 2>/dev/null))
}
complete -o default -F _virtio_misc virtio-misc
`,
  zsh: `#compdef virtio-misc
_virtio_misc() {
  local -a found
  found=("\${(@f)$(virtio-misc completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -- $found; else _files; fi
}
compdef _virtio_misc virtio-misc
`,
  fish: `function __virtio_misc
  virtio-misc completion words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null
end
complete -c virtio-misc -a '(__virtio_misc)'
`,
};

/** `virtio-misc completion`: what a shell needs to complete this program's words. */
export function completionCommand(program: Command): Command {
  return new Command('completion')
    .summary('print what bash, zsh or fish needs to complete commands')
    .description(
      'Prints a script for a shell: what may come next is then asked of this program.\n\n  bash   eval "$(virtio-misc completion bash)"      in ~/.bashrc\n  zsh    eval "$(virtio-misc completion zsh)"       in ~/.zshrc, after compinit\n  fish   virtio-misc completion fish | source       in ~/.config/fish/config.fish',
    )
    .addArgument(new Argument('<shell>').choices([...SHELLS, 'words']))
    .argument('[words...]', 'for words: what was written so far; prints what may come in place of the last')
    .action((shell: Shell | 'words', words: string[]) => {
      if (shell !== 'words') process.stdout.write(SCRIPTS[shell]);
      else for (const word of completions(program, words)) console.log(word);
    });
}

/** What may come in place of the last of these words. None where a file may. */
export function completions(program: Command, words: readonly string[]): string[] {
  const last = words.at(-1) ?? '';
  const command = program.commands.find((known) => known.name() === words[0]);
  if (words.length < 2 || command === undefined)
    return beginning(last, words.length < 2 ? program.commands.map((known) => known.name()) : []);
  const before = optionOf(command, words.at(-2)!);
  if (before?.required && words.length > 2) return beginning(last, valuesOf(before));
  if (last.startsWith('-'))
    return beginning(last, command.options.flatMap(({ long }) => long ?? []).concat('--help'));
  const [first] = command.registeredArguments;
  const fresh = words.slice(1, -1).every((word) => word.startsWith('-'));
  if (first === undefined || !fresh) return [];
  return beginning(last, [...(first.argChoices ?? (first.name() === 'device' ? DEVICE_NAMES : []))]);
}

function optionOf(command: Command, word: string): Option | undefined {
  return command.options.find(({ long, short }) => word === long || word === short);
}

function valuesOf({ argChoices, long }: Option): readonly string[] {
  return argChoices ?? (long === '--device' ? DEVICE_NAMES : []);
}

function beginning(start: string, words: readonly string[]): string[] {
  return isDeviceFile(start) ? [] : words.filter((word) => word !== 'words' && word.startsWith(start));
}
