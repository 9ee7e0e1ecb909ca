// Draws the picture in the README: the demo as it runs here.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { terminalPicture, type Written } from './terminal-picture.js';

const demo = fileURLToPath(new URL('../examples/demo.js', import.meta.url));
const child = spawn(process.execPath, [demo], {
  env: { ...process.env, FORCE_COLOR: '1' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const start = performance.now();
const written: Written[] = [];
createInterface({ input: child.stdout }).on('line', (text) =>
  written.push({ at: performance.now() - start, text }),
);
const [code] = (await once(child, 'close')) as [number];
if (code !== 0) throw new Error(`the demo ended with ${code}`);
const file = new URL('../../docs/demo.svg', import.meta.url);
writeFileSync(file, terminalPicture('npm run demo', written));
