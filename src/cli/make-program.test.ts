import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completions } from './completion.js';
import { makeProgram } from './make-program.js';
import { manPage } from './man-page.js';

test('what may come next: commands, options, their values, devices; files where nothing else does', async () => {
  const program = await makeProgram();
  const next = (line: string): string[] => completions(program, line.split(' '));
  assert.deepEqual(next('ser'), ['serve']);
  assert.deepEqual(
    next(''),
    program.commands.map((command) => command.name()),
  );
  assert.deepEqual(next('serve '), ['test', 'misc']);
  assert.deepEqual(next('serve m'), ['misc']);
  assert.deepEqual(next('serve ./m'), []);
  assert.deepEqual(next('vm --dev'), ['--device']);
  assert.deepEqual(next('vm --device t'), ['test']);
  assert.deepEqual(next('vm --device test --machine m'), ['microvm']);
  assert.deepEqual(next('vm --kernel '), []);
  assert.ok(next('vm --device test --').includes('--timeout'));
  assert.deepEqual(next('completion '), ['bash', 'zsh', 'fish']);
  assert.deepEqual(next('init --template st'), ['struct', 'stream', 'stock']);
  assert.deepEqual(next('nothing --x'), []);
});

test('the manual page has every command and option, and no line that roff takes for another thing', async () => {
  const program = await makeProgram();
  const page = manPage(program);
  const plain = page.replaceAll('\\-', '-').replaceAll('\\e', '\\');
  for (const command of program.commands) {
    assert.ok(plain.includes(`.SS virtio-misc ${command.name()} `), command.name());
    for (const { flags } of command.options) assert.ok(plain.includes(`.B ${flags}\n`), flags);
  }
  for (const line of page.split('\n').filter((text) => /^[.']/.test(text)))
    assert.match(line, /^\.(TH|SH|SS|TP|B|I|nf|fi)\b/);
  // Each macro of a paragraph has its text behind it.
  assert.doesNotMatch(page, /^\.TP\n\.[BI] .*\n\./m);
});

test('help explains times and sizes', async () => {
  for (const name of ['serve', 'vm', 'qemu-args']) {
    const command = (await makeProgram(name)).commands.find((known) => known.name() === name)!;
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    if (help.includes('<time>')) assert.match(help, /<time> is a number with its unit/);
    if (help.includes('<size>')) assert.match(help, /<size> is bytes with a unit/);
  }
});

test('what is written first has that command alone loaded; anything else has all', async () => {
  const names = async (word?: string): Promise<string[]> =>
    (await makeProgram(word)).commands.map((command) => command.name());
  assert.deepEqual(await names('serve'), ['serve']);
  for (const word of [undefined, 'help', '--help', 'srve', 'completion', 'constructor'])
    assert.ok((await names(word)).length > 10, word);
});
