import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyboard } from '../../../examples/input.js';
import { KERNEL_COMPLAINT, runGuest } from '../guest.js';
import { print, printed } from './printed.js';

const SENTENCE = "It's 10 o'clock: the guest reads THIS!";

/** The characters of key codes 0, 1, 2 ..., as input-event-codes.h numbers the keys of a PC. */
const PLAIN = "..1234567890-=..qwertyuiop[]\n.asdfghjkl;'`.\\zxcvbnm,./... ";
const SHIFTED = '..!@#$%^&*()_+..QWERTYUIOP{}..ASDFGHJKL:"~.|ZXCVBNM<>?... ';
const [EV_SYN, EV_KEY, KEY_LEFTSHIFT] = [0, 1, 42];

/** Bytes of a struct input_event: two longs of time, le16 type, le16 code, le32 value. */
const EVENT = 24;
/** More than two sentences' worth: one of them is whole, wherever the reader came in. */
const EVENTS = 2 * 4 * (SENTENCE.length + 1) * 2;

/** What was typed, by somebody who watches the keys go down. */
function read(events: Buffer): string {
  let text = '';
  let shift = false;
  for (let at = 0; at < events.length; at += EVENT) {
    const [type, code, value] = [
      events.readUInt16LE(at + 16),
      events.readUInt16LE(at + 18),
      events.readInt32LE(at + 20),
    ];
    if (type === EV_SYN) continue;
    assert.equal(type, EV_KEY);
    assert.ok(value === 0 || value === 1, `key ${code} has value ${value}`);
    if (code === KEY_LEFTSHIFT) shift = value === 1;
    else if (value === 1) text += (shift ? SHIFTED : PLAIN)[code] ?? `<${code}>`;
  }
  return text;
}

const SCRIPT = `
  for folder in /sys/class/input/event*; do
    [ "$(cat $folder/device/name)" = 'virtio-misc keyboard' ] && event=\${folder##*/}
  done
  cat /sys/class/input/$event/device/id/bustype
  # struct input_event: EV_LED, LED_CAPSL, on
  printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\21\\0\\1\\0\\1\\0\\0\\0' >/dev/input/$event
  ${print('events', `timeout 120 dd if=/dev/input/$event bs=${EVENT} count=${EVENTS}`)}
`;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`5.8: Linux reads the sentence that the keyboard example types, over ${transport}`, async () => {
    const { exitCode, console, device, warnings } = await runGuest(
      keyboard({ sentence: SENTENCE, every: 2 }),
      transport,
      SCRIPT,
    );
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, /^0006$/m);
    const events = printed('events', console);
    assert.equal(events.length, EVENTS * EVENT, all);
    assert.ok(read(events).includes(`\n${SENTENCE}\n`), read(events));
    assert.ok(device.includes('caps lock is on'), device.join('\n'));
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}
