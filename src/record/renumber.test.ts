import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interfaceDescription, sectionHeader } from './pcapng.js';
import { describesConnection } from './renumber.js';

test('a connection has its number when it is described, and not with the head of the file', () => {
  const head = sectionHeader('a test');
  const described = interfaceDescription('a device', 'a place');
  assert.equal(describesConnection(head), false);
  assert.equal(describesConnection(described), true);
  assert.equal(describesConnection(Buffer.concat([head, described])), true);
});
