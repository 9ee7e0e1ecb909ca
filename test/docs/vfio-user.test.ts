import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ProbeDevice } from '../../src/transports/pci/testing/probe-device.js';
import { encodeFeature } from '../../src/transports/vfio-user/feature-codec.js';
import * as wire from '../../src/transports/vfio-user/messages.js';
import { RawClient } from '../../src/transports/vfio-user/testing/raw-client.js';
import { ERRNO } from '../../src/transports/vfio-user/vfio-user-error.js';

// docs/vfio-user.md must have each message, feature and state, and say of them what the code does.

const page = readFileSync(new URL('../../../docs/vfio-user.md', import.meta.url), 'utf8');

function section(heading: string): string {
  return page.split(`\n## ${heading}\n`)[1]!.split('\n## ')[0]!;
}

function table(heading: string): { number: number; name: string; here: string }[] {
  return [...section(heading).matchAll(/^\| (\d+) \| (\w+) \| (.+) \|$/gm)].map(([, number, name, here]) => {
    return { number: Number(number), name: name!, here: here! };
  });
}

/** The constants whose names begin so, by the rest of it. */
function constants(prefix: string): [string, number][] {
  return Object.entries(wire).flatMap(([name, value]): [string, number][] =>
    name.startsWith(prefix) && typeof value === 'number' ? [[name.slice(prefix.length), value]] : [],
  );
}

const byNumber = (rows: [string, number][]): [string, number][] => rows.sort(([, a], [, b]) => a - b);
const pairs = (rows: ReturnType<typeof table>): [string, number][] =>
  rows.map(({ name, number }) => [name, number]);

/** Every command: what is left of the constants without flags, states and the rest. */
const COMMANDS = byNumber(
  constants('VFIO_USER_').filter(([name, number]) => wire.commandName(number) === name),
);

function connected(): RawClient {
  const client = new RawClient(new ProbeDevice());
  client.negotiate();
  return client;
}

test('each message is there, at the end that sends it', () => {
  const server = new Set<number>([wire.VFIO_USER_DMA_READ, wire.VFIO_USER_DMA_WRITE]);
  assert.deepEqual(
    pairs(table('What a client asks of a server')),
    COMMANDS.filter(([, number]) => !server.has(number)),
  );
  assert.deepEqual(
    pairs(table('What a server asks of a client')),
    COMMANDS.filter(([, number]) => server.has(number)),
  );
});

test('the server knows each of those that work, and no other', () => {
  const known = new Set(table('What a client asks of a server').map(({ number }) => number));
  for (let command = 2; command < 32; command++) {
    const client = connected();
    const { error } = client.ask(command);
    assert.equal(error !== ERRNO.ENOSYS, known.has(command), wire.commandName(command));
    client.hangUp();
  }
});

test('each feature is there, with what can be done with it', () => {
  const rows = table('Device features');
  const all = byNumber(
    constants('VFIO_DEVICE_FEATURE_').filter(([name, number]) => wire.featureName(number) === name),
  );
  assert.deepEqual(pairs(rows), all);
  const client = connected();
  for (let feature = 0; feature < 32; feature++) {
    const can = (operation: number): boolean => {
      const probe = encodeFeature(feature, wire.VFIO_DEVICE_FEATURE_PROBE | operation);
      return client.ask(wire.VFIO_USER_DEVICE_FEATURE, probe).error === 0;
    };
    const here = rows.find(({ number }) => number === feature)?.here ?? '';
    assert.equal(can(wire.VFIO_DEVICE_FEATURE_GET), /\bgot\b/.test(here), wire.featureName(feature));
    assert.equal(can(wire.VFIO_DEVICE_FEATURE_SET), /\bset\b/.test(here), wire.featureName(feature));
  }
});

test('each migration state is named', () => {
  const text = section('Migration states');
  for (const [name] of constants('VFIO_USER_DEVICE_STATE_')) assert.match(text, new RegExp(`\\b${name}\\b`));
});
