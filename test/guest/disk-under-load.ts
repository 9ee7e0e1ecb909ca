import assert from 'node:assert/strict';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { KERNEL_COMPLAINT } from './guest.js';

const MIB = 1024 * 1024;
/** What the file system does not have: the host says there that it is enough. */
const SIZE = 64 * MIB;
const LAST = SIZE / 512 - 1;

/** Files come and go, by several at once, each checked when it is read again from the disk, until the host has had enough. */
export const SCRIPT: string = `
  set -e
  /tools/mke2fs -q -t ext4 /dev/vda 60M
  mount -t ext4 /dev/vda /mnt
  cp -a /tools /mnt/tree
  cd /mnt
  find tree -type f | sort | xargs sha256sum >/tmp/tree
  echo begin
  worker() {
    round=0
    while [ ! -e /tmp/enough ]; do
      round=$((round + 1))
      head -c $((round % 7 * 65537 + $1 * 4099)) /dev/urandom >$1.new
      sha256sum <$1.new >/tmp/$1.sum
      sync $1.new
      mv $1.new $1.old
      echo 1 >/proc/sys/vm/drop_caches
      sha256sum <$1.old | cmp -s - /tmp/$1.sum || echo wrong $1 $round
    done
    echo worker $1 made $round files
  }
  for n in 1 2 3 4; do worker $n & done
  # And somebody who always has much under way.
  for n in 1 2 3 4 5 6; do
    while [ ! -e /tmp/enough ]; do dd if=/dev/vda of=/dev/null bs=32k skip=$((n * 256)) count=64 iflag=direct 2>/dev/null; done &
  done
  until dd if=/dev/vda bs=512 skip=${LAST} count=1 iflag=direct 2>/dev/null | grep -q enough; do sleep 0.2; done
  touch /tmp/enough
  wait
  sha256sum -c -s /tmp/tree && echo the tree is as it was
  cd /
  umount /mnt
  /tools/e2fsck -f -n /dev/vda && echo the file system is sound
`;

/** Makes the disk. */
export function makeDisk(file: string): void {
  writeFileSync(file, '');
  truncateSync(file, SIZE);
}

/** The guest hears that it is enough. */
export function sayEnough(file: string): void {
  const disk = openSync(file, 'r+');
  writeSync(disk, 'enough', LAST * 512);
  closeSync(disk);
}

/** Looks at what became of it. @returns how many files were made. */
export function checkDisk({ exitCode, console }: { exitCode: number; console: readonly string[] }): number {
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.match(all, /^the tree is as it was$/m);
  assert.match(all, /^the file system is sound$/m);
  const made = [...all.matchAll(/^worker \d made (\d+) files$/gm)].map(([, count]) => Number(count));
  assert.equal(made.length, 4, all);
  assert.doesNotMatch(all, /^wrong/m);
  assert.deepEqual(
    console.filter(
      (line) => KERNEL_COMPLAINT.test(line) || /I\/O error|EXT4-fs error|is not a head/.test(line),
    ),
    [],
  );
  return made.reduce((a, b) => a + b);
}
