import assert from 'node:assert/strict';
import { virtioTest } from '../../src/devices/test/device.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import type { Cases } from './suite.js';

/** What the `echo` variant of virtio-test promises its driver. */
export const echoCases: Cases = {
  make: virtioTest(),
  command: ['test'],
  cases: {
    async 'a request is printed letter for letter and answered with 100 more'({ connect, printed }) {
      const driver = await TestDriver.open(await connect());
      assert.equal(driver.variant, 'echo');
      assert.deepEqual(await driver.write(10), { ret: 111, arg1: 112, arg2: 113 });
      assert.deepEqual(await printed(5), [
        'QEMU_BACK_END: >>> get type [ 10 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg1 [ 11 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg2 [ 12 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg3 [ 13 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg3 [ hello back end! ] form the front end <<<',
      ]);
      await driver.close();
    },

    async 'the numbers of `virtio N` have 8 bits each'({ connect, printed }) {
      const driver = await TestDriver.open(await connect());
      assert.deepEqual(await driver.write(254), { ret: 355, arg1: 100, arg2: 101 });
      assert.deepEqual((await printed(4)).slice(0, 4), [
        'QEMU_BACK_END: >>> get type [ 254 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg1 [ 255 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg2 [ 0 ] form the front end <<<',
        'QEMU_BACK_END: >>> get arg3 [ 1 ] form the front end <<<',
      ]);
      await driver.close();
    },

    async '10,000 requests, many at a time: each gets its own answer'({ connect }) {
      const driver = await TestDriver.open(await connect());
      const one = async (i: number): Promise<void> => {
        const answer = await driver.request({ type: 0, arg1: i, arg2: -i, arg3: i * 3, arg4: '' });
        assert.deepEqual(answer, { ret: i + 100, arg1: 100 - i, arg2: i * 3 + 100 });
      };
      for (let i = 0; i < 10_000; i += 500) {
        await Promise.all(Array.from({ length: 500 }, (_, j) => one(i + j)));
      }
      await driver.close();
    },

    async 'numbers wrap at 32 bits, and control characters do not reach the terminal'({ connect, printed }) {
      const driver = await TestDriver.open(await connect());
      const answer = await driver.request({
        type: -1,
        arg1: 0x7fff_ffff,
        arg2: -100,
        arg3: 0,
        arg4: '\x1b[2Jhi',
      });
      assert.deepEqual(answer, { ret: -0x8000_0000 + 99, arg1: 0, arg2: 100 });
      const lines = await printed(5);
      assert.equal(lines[0], 'QEMU_BACK_END: >>> get type [ -1 ] form the front end <<<');
      assert.equal(lines[4], 'QEMU_BACK_END: >>> get arg3 [ \\x1b[2Jhi ] form the front end <<<');
      await driver.close();
    },

    async 'the configuration space can be read and written'({ connect }) {
      const driver = await TestDriver.open(await connect());
      assert.deepEqual(await driver.readConfig(), { num_pages: 0, actual: 0, event: 0 });
      await driver.writeConfig({ num_pages: 1, actual: 0xffff_ffff, event: 3 });
      // The seed's design takes the other two only.
      assert.deepEqual(await driver.readConfig(), { num_pages: 0, actual: 0xffff_ffff, event: 3 });
      await driver.close();
    },
  },
};

/** What the `events` variant promises. */
export const eventsCases: Cases = {
  make: virtioTest({ variant: 'events', first: 20, every: 10 }),
  command: ['test', '--variant', 'events', '--first', '20ms', '--every', '10ms'],
  cases: {
    async 'config changes come and their answers are printed, each counting up by one'({ connect, printed }) {
      const driver = await TestDriver.open(await connect());
      assert.equal(driver.variant, 'events');
      await new Promise<void>((resolve) => {
        driver.onConfigChange((count) => {
          if (count === 4) resolve();
        });
      });
      // How the two interleave is the clock's affair: changes that follow each other closely may be answered as one.
      let changes: string[] = [];
      let answers: string[] = [];
      for (let count = 8; changes.length < 4 || answers.length < 4; count++) {
        const lines = await printed(count);
        changes = lines.filter((line) => line.includes('set config'));
        answers = lines.filter((line) => line.includes('virtio num'));
      }
      assert.deepEqual(
        changes,
        changes.map((_, i) => `==============set config:${i}`),
      );
      assert.deepEqual(
        answers,
        answers.map((_, i) => `=========get virtio num:${i + 1}`),
      );
      assert.ok((await driver.readConfig()).event >= 4);
      await driver.close();
    },
  },
};
