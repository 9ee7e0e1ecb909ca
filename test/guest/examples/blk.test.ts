import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { blk } from '../../../examples/blk.js';
import { type GuestOutcome, KERNEL_COMPLAINT, runGuest } from '../guest.js';
import { diskTools } from './disk-tools.js';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** What the guest puts into a file, to be found on the host. */
const MARK = 'written by the guest, found by the host';

const FILE_SYSTEM = `
  set -e
  cd /sys/block/vda
  echo size $(cat size), serial $(cat serial), $(cat queue/write_cache), ro $(cat ro)
  cd /
  /tools/mke2fs -q -t ext4 -L examples /dev/vda
  mount -t ext4 /dev/vda /mnt
  mkdir /mnt/tree
  cp -a /bin /lib /tools /mnt/tree
  for n in 1 2 3 4 5 6 7 8; do head -c $((n * n * n * 2049)) /dev/urandom >/mnt/tree/random-$n & done
  wait
  echo '${MARK}' >/mnt/tree/mark
  cd /mnt/tree
  find . -type f | sort | xargs sha256sum >/tmp/sums
  find . | sort | xargs ls -ld >/tmp/listing
  cp /tmp/sums /mnt/sums
  cd /
  umount /mnt
  /tools/e2fsck -f -n /dev/vda
  echo 3 >/proc/sys/vm/drop_caches
  mount -t ext4 /dev/vda /mnt
  cd /mnt/tree
  sha256sum -c -s /tmp/sums
  find . | sort | xargs ls -ld | cmp - /tmp/listing
  cd /
  umount /mnt
  # Fields 12 and 16: discards and flushes that were completed.
  set -- $(cat /sys/block/vda/stat)
  echo $(wc -l </tmp/sums) files, discards: \${12}, flushes: \${16}
`;

const READ_ONLY = `
  echo ro $(cat /sys/block/vda/ro)
  mount -t ext4 -o ro /dev/vda /mnt
  (cd /mnt/tree && sha256sum -c -s ../sums && cat mark && echo all there)
  mount -o remount,rw /mnt && touch /mnt/new && echo written
  umount /mnt
  echo x >/dev/vda && echo written
  exit 0
`;

const CLEARING = `
  set -e
  /tools/blkdiscard -o ${2 * MIB} -l ${4 * MIB} /dev/vda
  /tools/blkdiscard -z -o ${8 * MIB} -l ${MIB} /dev/vda
  /tools/fallocate --punch-hole -o ${10 * MIB} -l ${2 * MIB} /dev/vda
  echo 3 >/proc/sys/vm/drop_caches
  sha256sum /dev/vda
`;

function assertWell({ exitCode, console, warnings }: GuestOutcome): string {
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.deepEqual(warnings, [], all);
  assert.deepEqual(
    console.filter((line) => KERNEL_COMPLAINT.test(line) || /I\/O error|EXT4-fs error/.test(line)),
    [],
  );
  return all;
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  const file = join(folder, `${transport}.img`);

  test(`5.2: Linux has an ext4 on the blk example over ${transport}; a tree outlasts unmounting and the guest`, async () => {
    writeFileSync(file, '');
    truncateSync(file, 64 * MIB);
    const files = await diskTools();
    const all = assertWell(await runGuest(blk({ file }), transport, FILE_SYSTEM, { files }));
    assert.match(all, new RegExp(`^size 131072, serial ${transport}.img, write back, ro 0$`, 'm'));
    assert.match(all, /^[1-9]\d+ files, discards: [1-9]\d*, flushes: [1-9]\d*$/m);
    const disk = readFileSync(file);
    assert.equal(disk.length, 64 * MIB);
    // The magic number of an ext4 superblock, and what the guest wrote.
    assert.equal(disk.readUInt16LE(1024 + 56), 0xef53);
    assert.ok(disk.includes(MARK));
    assert.ok(statSync(file).blocks * 512 < 48 * MIB, 'what the file system does not use takes no room');

    const later = assertWell(await runGuest(blk({ file, readOnly: true }), transport, READ_ONLY));
    assert.match(later, /^ro 1$/m);
    assert.match(later, new RegExp(`^${MARK}\nall there$`, 'm'));
    assert.doesNotMatch(later, /^written$/m);
    assert.ok(readFileSync(file).equals(disk), 'a read-only disk is as it was');
  });

  test(`5.2: Linux discards and zeroes parts of the blk example over ${transport}`, async () => {
    writeFileSync(file, Buffer.alloc(16 * MIB, 'abcdefg\n'));
    const { blocks } = statSync(file);
    const files = await diskTools();
    const all = assertWell(await runGuest(blk({ file, serial: 'x' }), transport, CLEARING, { files }));
    const expected = Buffer.alloc(16 * MIB, 'abcdefg\n')
      .fill(0, 2 * MIB, 6 * MIB)
      .fill(0, 8 * MIB, 9 * MIB)
      .fill(0, 10 * MIB, 12 * MIB);
    assert.ok(readFileSync(file).equals(expected), 'on the host');
    const hash = createHash('sha256').update(expected).digest('hex');
    assert.match(all, new RegExp(`^${hash}  /dev/vda$`, 'm'), 'in the guest');
    // 6 MiB were given back; zeros that are not to be unmapped keep their room.
    const freed = ((blocks - statSync(file).blocks) * 512) / MIB;
    assert.ok(freed > 5.5 && freed < 6.5, `${freed} MiB given back`);
  });
}
