import assert from 'node:assert/strict';
import { PassThrough, Writable } from 'node:stream';
import { test } from 'node:test';
import { progressTo } from './progress.js';

test('plain progress: a line when a step begins, and one with its time when it ends; failures pass through', async () => {
  let text = '';
  const stream = new Writable({
    write(piece, _encoding, done) {
      text += piece;
      done();
    },
  });
  const progress = progressTo(stream as unknown as NodeJS.WriteStream);
  const fetched = await progress.step('Fetching', async (say) => {
    say('half of it');
    return 42;
  });
  assert.equal(fetched, 42);
  await assert.rejects(
    progress.step('Building', async () => {
      throw new Error('no');
    }),
    /^Error: no$/,
  );
  assert.match(
    text,
    /^Fetching \.\.\.\nFetching: half of it\nFetching: done in \d+\.\d s\nBuilding \.\.\.\n$/,
  );
});

test('live progress: the line names all steps under way, and each one that ended stays', async () => {
  const stream = Object.assign(new PassThrough(), {
    isTTY: true,
    columns: 80,
    clearLine: () => true,
    cursorTo: () => true,
    moveCursor: () => true,
  });
  const progress = progressTo(stream as unknown as NodeJS.WriteStream);
  let text = '';
  const both = new Promise<void>((resolve) => {
    stream.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (text.includes('Fetching, Building')) resolve();
    });
  });
  await progress.step('Fetching', async () => {
    const building = progress.step('Building', async () => {
      await both;
      throw new Error('no');
    });
    await assert.rejects(building, /^Error: no$/);
  });
  assert.match(text, /✖ Building \(/);
  assert.match(text, /✔ Fetching \(/);
});
