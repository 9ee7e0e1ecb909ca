import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TypeCheck, type TypeReport } from './type-check.js';

const MODULES = fileURLToPath(new URL('../../../node_modules', import.meta.url));
const WRONG = `import { defineDevice, le32, struct, structQueue } from 'virtio-misc';
const Request = struct({ a: le32 });
export default defineDevice({
  id: 60,
  name: 'x',
  queues: [structQueue({ name: 'q', request: Request, response: Request, handle: ({ a }) => ({ a: String(a) }) })],
});
`;

/** A check keeps no process alive. */
let awake: NodeJS.Timeout;
before(() => {
  awake = setInterval(() => {}, 1000);
});
after(() => clearInterval(awake));

/** A folder for a device's file, in which TypeScript is installed or not. */
function folderFor(t: TestContext, installed = true): string {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  if (installed) symlinkSync(MODULES, join(folder, 'node_modules'));
  return folder;
}

test('a file of wrong types is told with the place, and one that was put right with nothing', async (t) => {
  const path = join(folderFor(t), 'device.ts');
  let heard: (reports: readonly TypeReport[]) => void = () => {};
  const check = new TypeCheck(path, (reports) => heard(reports));
  t.after(() => check.close());
  const checked = (): Promise<readonly TypeReport[]> =>
    new Promise((resolve) => {
      heard = resolve;
      check.start();
    });
  writeFileSync(path, WRONG);
  const [report, ...others] = await checked();
  assert.deepEqual([report!.path, report!.line, others], [path, 6, []]);
  assert.match(report!.message, /device\.ts:6:\d+: .*not assignable to type.*\(TS\d+\)$/);
  writeFileSync(path, WRONG.replace('String(a)', 'a'));
  assert.deepEqual(await checked(), []);
});

test('the settings of the project count', async (t) => {
  const folder = folderFor(t);
  const path = join(folder, 'device.ts');
  writeFileSync(path, 'export const a = 1;\nfunction unused(): void {}\n');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        noUnusedLocals: true,
        composite: true,
        rootDir: '.',
        outDir: 'out',
      },
      include: ['*.ts'],
    }),
  );
  const reports = await new Promise<readonly TypeReport[]>((resolve) => new TypeCheck(path, resolve).start());
  assert.deepEqual(
    reports.map(({ line, message }) => [
      line,
      /'unused' is declared but its value is never read|'unused' is declared but never used/.test(message),
    ]),
    [[2, true]],
  );
  assert.deepEqual(readdirSync(folder).sort(), ['device.ts', 'node_modules', 'tsconfig.json']);
});

test('without TypeScript, and for JavaScript, nothing is started; one that is ended says nothing', async (t) => {
  const never = (): void => assert.fail('it was checked');
  for (const [installed, name] of [
    [false, 'device.ts'],
    [true, 'device.js'],
  ] as const) {
    const path = join(folderFor(t, installed), name);
    writeFileSync(path, 'export const a: number = "1";');
    new TypeCheck(path, never).start();
  }
  const path = join(folderFor(t), 'device.ts');
  writeFileSync(path, WRONG);
  const ended = new TypeCheck(path, never);
  ended.start();
  ended.close();
  await new Promise<void>((resolve) => new TypeCheck(path, () => resolve()).start());
});
