import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { start } from '../virtio-misc.js';
import { boot } from './guest.js';

/** virtio-test for the guest's own driver. Each request is in flight for a while, and all are counted, whatever the version. */
const DEVICE = `import { defineDevice, le32, sle32, struct, structQueue, text } from 'virtio-misc';
import { VERSION } from './version.ts';

const Request = struct({ type: sle32, arg1: sle32, arg2: sle32, arg3: sle32, arg4: text(32) });
const Response = struct({ ret: sle32, arg1: sle32, arg2: sle32 });

export default defineDevice(() => {
  let handled: number = 0;
  let mine = 0;
  return {
    id: 45,
    name: 'virtio-test',
    features: { CAN_PRINT: 0 },
    config: { struct: struct({ num_pages: le32, actual: le32, event: le32 }) },
    queues: [
      structQueue({
        name: 'print',
        request: Request,
        response: Response,
        async handle({ arg1, arg2, arg3 }, { print }) {
          if (mine++ === 0) print(\`version \${VERSION}\`);
          if (++handled % 1000 === 0) print(\`handled \${handled}\`);
          await new Promise((resolve) => setTimeout(resolve, 2));
          return { ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 };
        },
      }),
    ],
    save: () => ({ handled }),
    restore(state) {
      ({ handled } = state as { handled: number });
    },
  };
});
`;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`over ${transport}: saved again and again while 64 processes make requests, none is lost and none fails`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const file = join(folder, 'device.ts');
    const versionFile = join(folder, 'version.ts');
    const saveVersion = (n: number): void => writeFileSync(versionFile, `export const VERSION = ${n};\n`);
    saveVersion(0);
    writeFileSync(file, DEVICE);
    const server = start(['serve', file, `--${transport}`, join(folder, 'device.sock'), '--log', 'json']);
    const printed: string[] = [];
    createInterface({ input: server.stdout! }).on('line', (line) => printed.push(line));
    const log = createInterface({ input: server.stderr! })[Symbol.asyncIterator]();
    let left = false;
    /** @returns the line; `undefined` when the guest is gone. */
    const logged = async (words: string): Promise<string | undefined> => {
      while (!left) {
        const { done, value } = await log.next();
        assert.ok(!done, `the device process ended before it said '${words}'`);
        if (value.includes(words)) return value;
        left = value.includes('front-end left');
      }
      return undefined;
    };
    try {
      await logged('serving');
      let busy = false;
      let began: () => void = () => {};
      const load = new Promise<void>((resolve) => {
        began = resolve;
      });
      const guest = boot(
        deviceArgs(virtioTest()(), transport, join(folder, 'device.sock'), 'virtio0'),
        'echo Y > /sys/module/virtio_test/parameters/quiet; dmesg -c >/dev/null; echo begin; virtio-stress 64 20000 && echo end && dmesg && echo done',
        {
          onConsole(line) {
            if (line === 'end') busy = false;
            if (line !== 'begin') return;
            busy = true;
            began();
          },
        },
      ).finally(() => began());
      await load;
      /** Versions that were in place while the load went on. */
      let version = 0;
      while (busy && !left) {
        // As an editor that writes into the file, of a file that the device imports.
        saveVersion(version + 1);
        await logged('reloaded; the front-end stays');
        if (!busy) break;
        version += 1;
        // As an editor that puts a new file in its place; with an error, then with a device that fails, then as it was.
        for (const [text, says] of [
          [`${DEVICE}}`, /device\.ts:\d+:\d+: /],
          [DEVICE.replace('({ handled } =', 'null!.x; ({ handled } ='), /Cannot read properties of null/],
          [DEVICE.replace('id: 45', 'id: 46'), /the device id changed from 45 to 46: restart the guest/],
        ] as const) {
          writeFileSync(join(folder, 'draft'), text);
          renameSync(join(folder, 'draft'), file);
          const line = await logged('not reloaded, the old device goes on');
          if (line !== undefined) assert.match(line, says);
        }
        writeFileSync(join(folder, 'draft'), DEVICE);
        renameSync(join(folder, 'draft'), file);
        await logged('reloaded; the front-end stays');
      }
      const { exitCode, console } = await guest;
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, /^20000 answered, 0 wrong, 0 failed/m);
      assert.ok(version >= 3, `${version} versions in the middle of the load`);
      server.kill('SIGTERM');
      assert.deepEqual(await once(server, 'exit'), [0, null]);
      const seen = new Set(printed.filter((line) => line.startsWith('version')));
      assert.ok(seen.size >= 3, printed.join('\n'));
      assert.ok(printed.includes('handled 20000'), printed.join('\n'));
      assert.deepEqual(
        console.slice(console.indexOf('end')),
        ['end', 'done'],
        'the kernel had nothing to say',
      );
    } finally {
      server.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
