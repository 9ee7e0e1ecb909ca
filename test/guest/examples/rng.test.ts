import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rng } from '../../../examples/rng.js';
import { KERNEL_COMPLAINT, runGuest } from '../guest.js';
import { print, printed } from './printed.js';

/** Bytes that the guest reads. */
const WANTED = 8192;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`5.4: Linux reads from /dev/hwrng what the rng example made, over ${transport}`, async () => {
    // Each four bytes are told apart from all others; the kernel keeps some for its own pool.
    let made = 0;
    const numbered = (size: number): Uint8Array => {
      assert.equal(size % 4, 0);
      const bytes = new DataView(new ArrayBuffer(size));
      for (let at = 0; at < size; at += 4) bytes.setUint32(at, ++made, true);
      return new Uint8Array(bytes.buffer);
    };
    const { exitCode, console, warnings } = await runGuest(
      rng(numbered),
      transport,
      `cat /sys/class/misc/hw_random/rng_current; ${print('rng', `head -c ${WANTED} /dev/hwrng`)}`,
    );
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, /^virtio_rng\.0$/m);
    const read = printed('rng', console);
    assert.equal(read.length, WANTED, all);
    const numbers = Array.from({ length: WANTED / 4 }, (_, i) => read.readUInt32LE(4 * i));
    assert.ok(numbers[0]! > 0 && numbers.at(-1)! <= made, `${numbers[0]} to ${numbers.at(-1)} of ${made}`);
    const backward = numbers.findIndex((n, i) => i > 0 && n <= numbers[i - 1]!);
    assert.equal(backward, -1, `${numbers[backward]} comes after ${numbers[backward - 1]}`);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}
