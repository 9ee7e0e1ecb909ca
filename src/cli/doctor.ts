import { styleText } from 'node:util';
import { Command } from 'commander';
import { inspect } from '../vm/inspect.js';

/** `virtio-misc doctor`: what is there and what is missing. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('say what is there and what is missing')
    .description(
      'Looks at what a guest needs, without fetching or changing anything (it asks Debian whether it\nanswers, if something would be fetched). The exit code is 0 when a guest can be had.\nServing a device needs nothing but Node.js.',
    )
    .option('--json', 'as JSON, for programs')
    .action(async ({ json }: { json?: boolean }) => {
      const findings = await inspect();
      const ok = findings.every((finding) => finding.ok);
      if (!ok) process.exitCode = 1;
      if (json) {
        console.log(JSON.stringify({ ok, findings }, undefined, 2));
        return;
      }
      const width = Math.max(...findings.map(({ what }) => what.length));
      for (const { what, ok, detail, hint } of findings) {
        const mark = ok ? styleText('green', 'ok     ') : styleText('red', 'missing');
        console.log(`${mark} ${what.padEnd(width)}  ${detail}`);
        if (hint !== undefined) console.log(`${' '.repeat(width + 10)}${hint}`);
      }
    });
}
