import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import '../../src/device-file/register.js';
import { DeviceBench, type MakeDevice } from '../../src/index.js';
import type { SentRequest } from '../../src/virtqueue/testing/polite-driver.js';
import { WatchedView } from '../../src/virtqueue/testing/watched-view.js';
import { Reader } from './reader.js';

const reader = new Reader('when-a-process-dies.md');
reader.testCode();

/** Pays 1, 2, 3, ... to a till whose process dies before one of its stores. @returns the receipts, and how many stores there were. */
function paid(make: MakeDevice, dieAt: number): { receipts: number[]; stores: number } {
  let stores = 0;
  let counts = false;
  let dead = false;
  const before = (kind: string): void => {
    if (dead) throw new Error('it is dead');
    if (!counts || kind === 'read' || kind === 'load') return;
    stores += 1;
    if (stores !== dieAt) return;
    dead = true;
    throw new Error('it dies');
  };
  const bench = new DeviceBench(make, { seen: (view) => new WatchedView(view, { before }) });
  counts = true;
  const [driver] = bench.drivers;
  const receipts: number[] = [];
  const sent = new Map<SentRequest, number>();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 4; i++) {
      const amount = Uint8Array.of(sent.size + 1, 0, 0, 0);
      sent.set(driver!.sent([amount], [4])!, sent.size);
    }
    bench.kick('paymentq');
    if (dead) {
      dead = false;
      bench.restart();
    }
    for (let answer = driver!.receive(); answer !== undefined; answer = driver!.receive()) {
      const index = sent.get(answer.request)!;
      assert.equal(receipts[index], undefined, 'answered twice');
      receipts[index] = new DataView(answer.bytes.buffer).getUint32(0, true);
    }
  }
  return { receipts, stores };
}

test('the till dies before any of its stores, and each payment counts once', async () => {
  const { default: make } = (await import(pathToFileURL(join(reader.folder, 'till.ts')).href)) as {
    default: MakeDevice;
  };
  const { receipts, stores } = paid(make, 0);
  assert.deepEqual(receipts, [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 66, 78]);
  assert.ok(stores > 100);
  for (let dieAt = 1; dieAt <= stores; dieAt++)
    assert.deepEqual(paid(make, dieAt).receipts, receipts, `${dieAt}`);
});
