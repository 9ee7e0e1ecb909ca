import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';
import { Migration, type Movable } from './migration.js';

const {
  VFIO_USER_DEVICE_STATE_ERROR: ERROR,
  VFIO_USER_DEVICE_STATE_STOP: STOP,
  VFIO_USER_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_USER_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_USER_DEVICE_STATE_RESUMING: RESUMING,
} = wire;

/** A device that says what is done to it, and whose state is 1, 2, 3. */
class Probe implements Movable {
  readonly calls: string[] = [];
  /** What `halt` ends with; `undefined` for not at all, yet. */
  halted: { problem?: string } | undefined = {};
  finish: () => void = () => {};

  halt(done: (problem?: string) => void): void {
    this.calls.push('halt');
    const { halted } = this;
    if (halted === undefined) this.finish = () => done();
    else done(halted.problem);
  }
  proceed(): void {
    this.calls.push('proceed');
  }
  clear(): void {
    this.calls.push('clear');
  }
  save(): Uint8Array {
    this.calls.push('save');
    return Uint8Array.of(1, 2, 3);
  }
  restore(state: Uint8Array): void {
    this.calls.push(`restore ${[...state]}`);
    if (state.length === 0) throw new Error('nothing there');
  }
}

/** @returns what went wrong. */
function change(migration: Migration, to: number): VfioUserError | undefined {
  let end: { error: VfioUserError | undefined } | undefined;
  try {
    migration.change(to, (error) => {
      end = { error };
    });
  } catch (error) {
    assert.ok(error instanceof VfioUserError);
    return error;
  }
  assert.ok(end !== undefined, 'not done');
  return end.error;
}

function at(state: number): { device: Probe; migration: Migration } {
  const device = new Probe();
  const migration = new Migration(device);
  if (state !== RUNNING) assert.equal(change(migration, state), undefined);
  assert.equal(migration.state, state);
  device.calls.length = 0;
  return { device, migration };
}

const LEGAL = [STOP, RUNNING, STOP_COPY, RESUMING];
/** What is done on the way. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  'RUNNING STOP': ['halt'],
  'RUNNING STOP_COPY': ['halt', 'save'],
  'RUNNING RESUMING': ['halt', 'clear'],
  'STOP RUNNING': ['proceed'],
  'STOP STOP_COPY': ['save'],
  'STOP RESUMING': ['clear'],
  'STOP_COPY STOP': [],
  'STOP_COPY RUNNING': ['proceed'],
  'STOP_COPY RESUMING': ['clear'],
  'RESUMING STOP': ['restore 9'],
  'RESUMING RUNNING': ['restore 9', 'proceed'],
  'RESUMING STOP_COPY': ['restore 9', 'save'],
};

for (const from of LEGAL) {
  for (let to = 0; to < 9; to++) {
    const [a, b] = [wire.stateName(from), wire.stateName(to)];
    if (LEGAL.includes(to)) {
      test(`${a} to ${b}: ${from === to ? 'nothing' : 'the shortest way'}`, () => {
        const { device, migration } = at(from);
        if (from === RESUMING) migration.write(Uint8Array.of(9));
        assert.equal(change(migration, to), undefined);
        assert.equal(migration.state, to);
        assert.deepEqual(device.calls, from === to ? [] : WAYS[`${a} ${b}`]);
      });
    } else {
      test(`${a} to ${b}: refused by name, and nothing changes`, () => {
        const { device, migration } = at(from);
        const error = change(migration, to);
        assert.equal(error?.code, 'EINVAL');
        assert.equal(error.message, `the migration state can't be set to ${b}`);
        assert.equal(migration.state, from);
        assert.deepEqual(device.calls, []);
      });
    }
  }
}

test('a device that can not be stopped goes on, and the message says why', () => {
  const { device, migration } = at(RUNNING);
  device.halted = { problem: 'queue 0 has requests in flight' };
  const error = change(migration, STOP_COPY);
  assert.equal(error?.code, 'EBUSY');
  assert.equal(error.message, "the device can't be stopped: queue 0 has requests in flight");
  assert.equal(migration.state, RUNNING);
  assert.deepEqual(device.calls, ['halt']);
});

test('what takes its time is answered when it is done, and the way goes on from there', () => {
  const { device, migration } = at(RUNNING);
  device.halted = undefined;
  let ends = 0;
  migration.change(STOP_COPY, (error) => {
    assert.equal(error, undefined);
    ends += 1;
  });
  assert.deepEqual([ends, migration.state], [0, RUNNING]);
  device.finish();
  assert.deepEqual([ends, migration.state], [1, STOP_COPY]);
});

test('a device that can not be saved is stopped, and can go on', () => {
  const { device, migration } = at(RUNNING);
  device.save = () => {
    throw new TypeError('the state.kept is a Chain, which has no bytes');
  };
  const error = change(migration, STOP_COPY);
  assert.equal(error?.message, "the device can't be saved: the state.kept is a Chain, which has no bytes");
  assert.equal(migration.state, STOP);
  assert.equal(change(migration, RUNNING), undefined);
});

test('a state that is not taken leads to ERROR, and nothing but a reset out of it', () => {
  const { device, migration } = at(RESUMING);
  const error = change(migration, RUNNING);
  assert.equal(error?.message, "the device can't go on from the state that was written: nothing there");
  assert.equal(migration.state, ERROR);
  assert.deepEqual(device.calls, ['restore ', 'clear'], 'what it took of it is gone');
  for (const to of LEGAL) {
    const refused = change(migration, to);
    const text = `the migration state can't go from ERROR to ${wire.stateName(to)}: DEVICE_RESET leads out of it`;
    assert.equal(refused?.message, text);
  }
  assert.throws(() => migration.read(1), /MIG_DATA_READ in ERROR/);
  assert.throws(() => migration.write(Uint8Array.of(1)), /MIG_DATA_WRITE in ERROR/);
  migration.reset();
  assert.equal(migration.state, RUNNING);
  assert.equal(device.calls.at(-1), 'proceed');
});

test('data is read in STOP_COPY alone, to its end and once', () => {
  for (const state of [RUNNING, STOP, RESUMING]) {
    const { migration } = at(state);
    const text = `MIG_DATA_READ in ${wire.stateName(state)}, where nothing is read`;
    assert.throws(() => migration.read(8), { code: 'EINVAL', message: text });
  }
  const { migration } = at(STOP_COPY);
  assert.deepEqual(migration.read(2), Uint8Array.of(1, 2));
  assert.deepEqual(migration.read(0), new Uint8Array());
  assert.deepEqual(migration.read(8), Uint8Array.of(3));
  assert.deepEqual(migration.read(8), new Uint8Array());
  change(migration, STOP);
  change(migration, STOP_COPY);
  assert.deepEqual(migration.read(8), Uint8Array.of(1, 2, 3), 'anew');
});

test('data is written in RESUMING alone, in pieces, and not without end', () => {
  for (const state of [RUNNING, STOP, STOP_COPY]) {
    const { migration } = at(state);
    const text = `MIG_DATA_WRITE in ${wire.stateName(state)}, where nothing is written`;
    assert.throws(() => migration.write(new Uint8Array(1)), { code: 'EINVAL', message: text });
  }
  const { device, migration } = at(RESUMING);
  for (let i = 1; i < 6; i++) migration.write(Uint8Array.of(i));
  migration.write(new Uint8Array());
  change(migration, STOP);
  assert.deepEqual(device.calls, ['restore 1,2,3,4,5']);
  change(migration, RESUMING);
  const piece = new Uint8Array(1 << 20);
  for (let i = 0; i < 64; i++) migration.write(piece);
  assert.throws(() => migration.write(Uint8Array.of(1)), { code: 'ENOSPC' });
});
