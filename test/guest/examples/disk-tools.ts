import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { Apt } from '../../../src/vm/apt.js';
import { Cache } from '../../../src/vm/cache.js';
import { unpack } from '../../../src/vm/deb.js';
import type { GuestFile } from '../../../src/vm/initramfs.js';
import { LIBRARIES, layOutPrefix } from '../../../src/vm/prefix.js';
import { progressTo } from '../../../src/vm/progress.js';
import { settleAll } from '../../../src/vm/settle.js';
import { GUEST_SUITE } from '../../../src/vm/stock-kernel.js';

const PROGRAMS = ['usr/sbin/mke2fs', 'usr/sbin/e2fsck', 'usr/sbin/blkdiscard', 'usr/bin/fallocate'];
const PACKAGES = ['e2fsprogs', 'util-linux'];
/** Of all that these packages want, what the programs are linked with. */
const NEEDED = /^(e2fsprogs|util-linux|lib(blkid1|uuid1|ext2fs2|com-err2|c6))=/;
const EXCEPT = ['./usr/share/*', './etc/*', './usr/lib/*/gconv/*'];
const RECIPE = { GUEST_SUITE, PACKAGES, EXCEPT, version: 1 };

/** Debian's mke2fs, e2fsck, blkdiscard and fallocate, as files for the guest: in /tools, their libraries where they look. */
export async function diskTools(): Promise<GuestFile[]> {
  const cache = Cache.ofUser();
  const progress = progressTo(process.stderr, { plain: true });
  const prefix = await cache.entry('disk-tools', RECIPE, (draft) =>
    progress.step('Fetching e2fsprogs and util-linux from Debian', async () => {
      await layOutPrefix(draft);
      await Apt.use(draft, [GUEST_SUITE], async (apt) => {
        const closure = await apt.closure(PACKAGES, GUEST_SUITE);
        const debs = await apt.download(closure.filter((exact) => NEEDED.test(exact)));
        await settleAll(debs.map((deb) => unpack(deb, draft, { except: EXCEPT })));
      });
    }),
  );
  const file = (from: string, to: string): GuestFile => ({
    path: to,
    content: { source: path.join(prefix, from) },
    mode: 0o755,
  });
  const libraries = (await readdir(path.join(prefix, LIBRARIES))).filter((name) =>
    /^(ld-linux-x86-64|lib(c|blkid|uuid|ext2fs|e2p|com_err))\.so\.\d+$/.test(name),
  );
  return [
    ...PROGRAMS.map((program) => file(program, `/tools/${path.basename(program)}`)),
    ...libraries.map((name) =>
      file(
        `${LIBRARIES}/${name}`,
        name.startsWith('ld-') ? `/lib64/${name}` : `/lib/x86_64-linux-gnu/${name}`,
      ),
    ),
  ];
}
