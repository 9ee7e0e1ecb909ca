import { styleText } from 'node:util';
import { Command } from 'commander';
import { inspect } from '../vm/inspect.js';

/** `virtio-misc doctor`: what is there and what is missing. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('say what is there and what is missing')
    .description(
      'Looks at what a guest needs, without fetching or changing anything. The exit code is 0 when a guest can be had.\nServing a device needs nothing but Node.js.',
    )
    .action(async () => {
      const findings = await inspect();
      const width = Math.max(...findings.map(({ what }) => what.length));
      for (const { what, ok, detail, hint } of findings) {
        const mark = ok ? styleText('green', 'ok     ') : styleText('red', 'missing');
        console.log(`${mark} ${what.padEnd(width)}  ${detail}`);
        if (hint !== undefined) console.log(`${' '.repeat(width + 10)}${hint}`);
      }
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}
