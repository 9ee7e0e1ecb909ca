import assert from 'node:assert/strict';
import { test } from 'node:test';
import echo from '../../../examples/console.js';
import { KERNEL_COMPLAINT, runGuest } from '../guest.js';

/** All 256 values of a byte, many times: less than the example keeps for a slow reader. */
const SIZE = 16_384;

const SCRIPT = `
  set -e
  # The port forgets how it was set when nobody has it open.
  exec 4<>/dev/hvc0
  stty -F /dev/hvc0 raw -echo
  printf 'hello, host\\n' >&4
  timeout 60 head -n 1 <&4
  head -c ${SIZE} /dev/urandom >/tmp/sent
  timeout 60 head -c ${SIZE} <&4 >/tmp/back &
  cat /tmp/sent >&4
  wait $!
  cmp /tmp/sent /tmp/back && echo the same
`;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`5.3: what Linux writes to /dev/hvc0 comes back from the console example, over ${transport}`, async () => {
    const { exitCode, console, warnings } = await runGuest(echo, transport, SCRIPT);
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, /^hello, host$/m);
    assert.match(all, /^the same$/m);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}
