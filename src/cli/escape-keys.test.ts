import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeKeys } from './escape-keys.js';

/** What becomes of keys that come in these pieces: those that are sent, and `<end>` and `<help>` between them. */
function typed(...pieces: string[]): string {
  let said = '';
  const keys = new EscapeKeys({
    send(bytes) {
      said += Buffer.from(bytes).toString();
    },
    end() {
      said += '<end>';
    },
    help() {
      said += '<help>';
    },
  });
  for (const piece of pieces) keys.type(Buffer.from(piece));
  return said;
}

test('keys go to the guest, Ctrl-C and Ctrl-D among them', () => {
  assert.equal(typed('ls -l\r', '\x03\x04', 'ä'), 'ls -l\r\x03\x04ä');
});

test('Ctrl-A x ends the guest, in one piece or two, with Ctrl held or not', () => {
  for (const pieces of [['ls\x01x'], ['ls', '\x01', 'x'], ['ls\x01\x18']])
    assert.equal(typed(...pieces), 'ls<end>');
});

test('Ctrl-A a and Ctrl-A Ctrl-A are Ctrl-A, Ctrl-A h helps', () => {
  assert.equal(typed('\x01a\x01\x01b\x01hc\x01?'), '\x01\x01b<help>c<help>');
});

test('Ctrl-A before any other key goes to the guest with it', () => {
  assert.equal(typed('\x01', 'e', '\x01\x05'), '\x01e\x01\x05');
});
