import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { LineLimiter } from '../lines/line-limiter.js';
import type { LogContext } from '../virtio/log-context.js';
import { DeviceBench } from '../virtio/testing/device-bench.js';
import { DeviceFile } from './device-file.js';
import { DeviceFileError } from './device-file-error.js';
import { explainError } from './explain-error.js';
import { FailureLines } from './failure-lines.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  path = join(folder, 'device.ts');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A device that throws in many ways, with types before what throws, so that positions would move if they could. */
const SOURCE = `import { defineDevice, type Device, le32, struct, structQueue } from 'virtio-misc';

const Request = struct({ how: le32 });
interface Box { readonly value?: { readonly n: number } }

function deep(box: Box, { clock }: Device): number {
	return (clock.now() as number) + box.value!.n;
}

export default defineDevice({
  id: 60,
  name: 'thrower',
  queues: [
    structQueue({
      name: 'q',
      request: Request,
      response: Request,
      async handle({ how }: { how: number }, device) {
        if (how === 1) return { how: deep({}, device as never) };
        if (how === 2) throw new Error('outer', { cause: new TypeError('inner') });
        if (how === 3) return Promise.reject<never>('no error at all');
        return { how };
      },
    }),
  ],
  activate({ clock }) {
    const alarm = clock.alarm(() => {
      throw new Error('too late');
    });
    alarm.set(clock.now() + 1e9);
  },
});
`;

async function thrown(how: number): Promise<unknown> {
  writeFileSync(path, SOURCE);
  const bench = new DeviceBench(await new DeviceFile(path).load());
  await bench.request('q', Uint8Array.of(how, 0, 0, 0), 4);
  return bench.errors[0];
}

describe('an error of a device’s file', () => {
  test('is explained by the stack in the author’s files, and the line of TypeScript with its column', async () => {
    const found = explainError(await thrown(1))!;
    assert.deepEqual([found.place, found.path, found.inDeviceFile], [`${path}:7:46`, path, true]);
    assert.deepEqual(found.lines, [
      `at deep (${path}:7:46)`,
      `at handle (${path}:19:38)`,
      '  5 |',
      '  6 | function deep(box: Box, { clock }: Device): number {',
      '> 7 |   return (clock.now() as number) + box.value!.n;',
      '    |                                               ^',
      '  8 | }',
      '  9 |',
    ]);
  });

  test('names its causes', async () => {
    const { lines } = explainError(await thrown(2))!;
    assert.equal(lines.at(-1), `caused by: inner (${path}:20:58)`);
  });

  test('that is none, or is of no file of the author’s, is not explained', async () => {
    assert.equal(explainError(await thrown(3)), undefined);
    assert.equal(explainError(undefined), undefined);
    const own = new Error('own');
    own.stack = `Error: own\n    at x (${new URL('./x.js', import.meta.url)}:1:2)\n    at node:internal/timers:5:6`;
    assert.equal(explainError(own), undefined);
  });

  test('of an alarm is explained likewise', async () => {
    writeFileSync(path, SOURCE);
    const bench = new DeviceBench(await new DeviceFile(path).load());
    bench.advance(2e9);
    assert.deepEqual(bench.warnings, [
      'thrower: the device failed, and needs a reset by its driver: too late',
    ]);
    assert.equal(explainError(bench.errors[0])!.place, `${path}:28:13`);
  });

  test('is shown without code when that was saved since', async () => {
    writeFileSync(path, SOURCE);
    const file = new DeviceFile(path);
    const bench = new DeviceBench(await file.load());
    writeFileSync(path, `\n${SOURCE}`);
    await file.load();
    await bench.request('q', Uint8Array.of(1, 0, 0, 0), 4);
    assert.equal(explainError(bench.errors[0])!.lines.length, 2);
  });

  test('that keeps it from being loaded comes with the code', async () => {
    for (const [source, place, code] of [
      ['const a: number = 1;\nconst b = = 2;', '2:11', '> 2 | const b = = 2;'],
      ["import { no } from './other.ts'; no;", '1', "> 1 | import { no } from './other.ts'; no;"],
      ['const a: unknown = null;\n\n(a as string).length;', '3:15', '> 3 | (a as string).length;'],
      [
        "import { defineDevice } from 'virtio-misc';\nexport default defineDevice({ id: 60, name: 'x', queue: [] });",
        '2:16',
        "> 2 | export default defineDevice({ id: 60, name: 'x', queue: [] });",
      ],
    ] as const) {
      writeFileSync(path, source);
      writeFileSync(join(folder, 'other.ts'), 'export {};');
      await assert.rejects(new DeviceFile(path).load(), (error) => {
        assert.ok(error instanceof DeviceFileError);
        assert.ok(error.message.startsWith(`${path}:${place}: `), error.message);
        assert.ok(error.detail.includes(code), error.detail.join('\n'));
        return true;
      });
    }
  });
});

test('the lines of one place come once with its code, and are counted then; controls are written out', async () => {
  let now = 0;
  let tick: (() => void) | undefined;
  const said: [string, LogContext][] = [];
  const write = (line: string, about: LogContext): void => void said.push([line, about]);
  const limiter = new LineLimiter<LogContext>({
    write,
    now: () => now,
    after(_, callback) {
      tick = callback;
      return () => {};
    },
  });
  const lines = new FailureLines(limiter, write);
  const error = (await thrown(2)) as Error;
  for (let i = 0; i < 5; i++) lines.say('it failed: \x1b[2J', { queue: 'q', error });
  lines.say('another', { error: 'of no place' });
  assert.deepEqual(
    said.map(([line, about]) => [line, about.queue, about.detail === undefined, 'error' in about]),
    [
      ['it failed: \\x1b[2J', 'q', false, false],
      ['another', undefined, true, false],
    ],
  );
  assert.ok(said[0]![1].detail!.some((line) => line.startsWith('> 20 | ')));
  now = 1000;
  tick!();
  assert.equal(said[2]![0], `it failed: \\x1b[2J (${path}:20:30) (and 3 more)`);
  now = 3000;
  lines.say('it failed: \x1b[2J', { error });
  assert.deepEqual([said.length, said[3]![1].detail], [4, undefined]);
});
