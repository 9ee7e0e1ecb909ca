// Writes the program's manual page, made of what its --help says, to where package.json names it.
import { mkdirSync, writeFileSync } from 'node:fs';
import { makeProgram } from '../src/cli/make-program.js';
import { manPage } from '../src/cli/man-page.js';

const folder = new URL('../man/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(new URL('virtio-misc.1', folder), manPage(await makeProgram()));
