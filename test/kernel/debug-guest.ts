import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { virtioMisc } from '../../src/devices/misc/device.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import { type GuestOptions, type GuestOutcome, runGuest } from '../guest/guest.js';

const SOURCES = new URL('../../../test/kernel/guest/', import.meta.url);

/** The kernel to test with: a name or a path, as `vm --kernel` takes them. */
export const KERNEL: string = process.env.VIRTIO_MISC_KERNEL ?? 'debug';

/** What a kernel says when it finds something wrong. */
export const SPLAT: RegExp =
  /\b(BUG:|WARNING:|Oops|KASAN|UBSAN|ODEBUG|DMA-API: .*(device driver|exceeded)|Call Trace|refcount_t|general protection|stack guard)|possible (circular|recursive|irq lock|.* deadlock)|inconsistent lock state|suspicious RCU|blocked for more than|soft lockup|rcu: INFO: .*stall|Invalid wait context|kmemleak: [1-9]/i;

/** Looks for memory that nobody can reach any more; the first scan is for what is young. */
export const NO_LEAKS = `if [ -e /sys/kernel/debug/kmemleak ]; then
  sync; sleep 6; echo scan >/sys/kernel/debug/kmemleak; sleep 1; echo scan >/sys/kernel/debug/kmemleak
  cat /sys/kernel/debug/kmemleak; [ -z "$(cat /sys/kernel/debug/kmemleak)" ] || { echo LEAK; exit 99; }
fi`;

/** Suspends as far as the drivers are concerned, for a second, and resumes. */
export const SUSPEND = `echo 1 >/sys/module/suspend/parameters/pm_test_delay
suspend() { echo devices >/sys/power/pm_test && echo freeze >/sys/power/state; }`;

const source = (name: string): string => fileURLToPath(new URL(name, SOURCES));

/** How the guests of these tests are booted: slowly, and whoever waits wants to see them go on. */
export const CHECKED: GuestOptions & { readonly onConsole: (line: string) => void } = {
  kernel: KERNEL,
  cpus: 1,
  onConsole: (line) => process.stderr.write(`${line}\n`),
  timeout: 1_500_000,
  modules: ['vmisc_contexts_test.c', 'vmisc_slow_test.c'].map(source),
  tools: ['misc-timer-read.c'].map(source),
};

/** Comes first: what the kernel found wrong while it booted, and that it still looks at locks. */
export const BOOT_LOG = `dmesg | grep -E -A40 'BUG:|WARNING:|INFO: task|Call Trace'
grep -q 'debug_locks: *1' /proc/lockdep_stats || { echo NO LOCKDEP; exit 95; }
`;

/** What a kernel has to say against a driver. */
export const complaints = (console: readonly string[]): string[] =>
  console.filter((line) => SPLAT.test(line));

/** Boots the debug kernel with a device and runs commands; what it has to say against the driver fails the test. */
export async function debugGuest(
  exec: string,
  { make = virtioMisc(), ...options }: GuestOptions & { make?: () => VirtioDevice } = {},
): Promise<GuestOutcome & { readonly all: string }> {
  const outcome = await runGuest(make, 'vfio-user', BOOT_LOG + exec, { ...CHECKED, ...options });
  const all = outcome.console.join('\n');
  assert.deepEqual(complaints(outcome.console), [], all);
  return { ...outcome, all };
}
