import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilerWords } from './compiler-words.js';

test('errors name the files that the user knows, and make keeps quiet', () => {
  const output = [
    "make: Entering directory '/cache/headers'",
    '  CC [M]  /cache/build-x/mine.o',
    '  LD [M]  /cache/build-x/other.ko',
    '/cache/build-x/mine.c: In function ‘init’:',
    '/cache/build-x/mine.c:2:77: error: ‘nothing’ undeclared',
    '    2 | static int init(void) { return nothing; }',
    '      |                                ^~~~~~~',
    'cc1: some warnings being treated as errors',
    'make[1]: *** [/cache/Makefile.build:255: /cache/build-x/mine.o] Error 1',
    'make: *** [Makefile:2050: /cache/build-x] Error 2',
    '',
  ].join('\n');
  assert.equal(
    compilerWords(output, '/cache/build-x', [{ from: './drivers/mine.c', to: 'mine.c' }]),
    [
      './drivers/mine.c: In function ‘init’:',
      './drivers/mine.c:2:77: error: ‘nothing’ undeclared',
      '    2 | static int init(void) { return nothing; }',
      '      |                                ^~~~~~~',
      'cc1: some warnings being treated as errors',
    ].join('\n'),
  );
});
