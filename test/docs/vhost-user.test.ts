import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  BACKEND_REQUEST,
  PAYLOAD_SIZE,
  PROTOCOL_F,
  REQUEST,
  requestName,
} from '../../src/transports/vhost-user/messages.js';
import { encodeU64 } from '../../src/transports/vhost-user/payloads.js';
import { NOT_OFFERED, REFUSED } from '../../src/transports/vhost-user/refused.js';
import { Bench } from '../../src/transports/vhost-user/testing/bench.js';
import { ProbeDevice } from '../../src/transports/vhost-user/testing/probe-device.js';
import { featureBits } from '../../src/virtio/features.js';

// docs/vhost-user.md must have each message and each protocol feature, and say of them what the code does.

const page = readFileSync(new URL('../../../docs/vhost-user.md', import.meta.url), 'utf8');

interface Row {
  readonly number: number;
  readonly name: string;
  readonly here: string;
}

/** The rows of the table below a heading. */
function table(heading: string): Row[] {
  const section = page.split(`\n## ${heading}\n`)[1]!.split('\n## ')[0]!;
  return [...section.matchAll(/^\| (\d+) \| (\w+) \| (.+) \|$/gm)].map(([, number, name, here]) => {
    return { number: Number(number), name: name!, here: here! };
  });
}

const numbers = (length: number, from: number): number[] => Array.from({ length }, (_, i) => i + from);
const pairs = (rows: readonly Row[]) => rows.map(({ name, number }) => [name, number]);

test('each message of a front-end is there, as what it does or why it is refused', () => {
  const rows = table('What a front-end asks of a back-end');
  assert.deepEqual(pairs(rows), Object.entries(REQUEST));
  assert.deepEqual(
    rows.map(({ number }) => number),
    numbers(45, 1),
  );
  for (const { number, name, here } of rows) {
    const why = REFUSED.get(number);
    if (why === undefined) assert.match(here, /^works\b/, name);
    else assert.equal(here, `refused: ${why}`, name);
  }
});

test('a back-end refuses each message that is said to be refused, with that reason, and knows all others', () => {
  for (const number of Object.values(REQUEST)) {
    const b = new Bench(new ProbeDevice());
    b.say(number, new Uint8Array(PAYLOAD_SIZE.get(number)?.[1] ?? 8), { needReply: true });
    const why = REFUSED.get(number);
    const line = `probe: vhost-user: ${requestName(number)} is refused: ${why}`;
    assert.equal(b.warnings.includes(line), why !== undefined, requestName(number));
    if (why !== undefined) {
      assert.equal(b.ended, undefined);
      assert.notEqual(b.frontend.takeU64(number) & 0xffn, 0n);
      assert.equal(b.ask(REQUEST.SET_OWNER), 0n);
    }
    assert.ok(!b.warnings.some((text) => text.includes('there is no such message')));
    b.close();
  }
});

test('each message of a back-end is there', () => {
  const rows = table('What a back-end asks of a front-end');
  assert.deepEqual(
    rows.map(({ number }) => number),
    numbers(10, 1),
  );
  const sent = rows.filter(({ here }) => here.startsWith('sent'));
  assert.deepEqual(
    pairs(sent),
    Object.entries(BACKEND_REQUEST).sort(([, a], [, b]) => a - b),
  );
  for (const { here } of rows) assert.match(here, /^(sent|not sent: )/);
});

test('each protocol feature is there, as offered or why it is not', () => {
  const rows = table('Protocol features');
  assert.deepEqual(
    rows.map(({ number }) => number),
    numbers(24, 0),
  );
  const offered = Object.entries(PROTOCOL_F).map(([name, mask]) => [name, featureBits(mask)[0]]);
  const theirs = Object.entries(NOT_OFFERED).map(([name, [bit]]) => [name, bit]);
  assert.deepEqual(
    pairs(rows),
    [...offered, ...theirs].sort(([, a], [, b]) => (a as number) - (b as number)),
  );
  for (const { name, here } of rows) {
    const why = NOT_OFFERED[name];
    if (why === undefined) assert.match(here, /^offered\b/, name);
    else assert.equal(here, `not offered: ${why[1]}`, name);
  }
});

test('a bit that is not offered is refused', () => {
  for (const [bit] of Object.values(NOT_OFFERED)) {
    const b = new Bench(new ProbeDevice());
    b.say(REQUEST.GET_PROTOCOL_FEATURES);
    assert.equal((b.frontend.takeU64(REQUEST.GET_PROTOCOL_FEATURES) >> BigInt(bit)) & 1n, 0n);
    assert.notEqual(b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(1n << BigInt(bit))), 0n);
    assert.equal(b.ended, undefined);
    b.close();
  }
});
