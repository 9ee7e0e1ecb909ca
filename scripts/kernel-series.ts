/*
 * npm run kernel-series -- TREE FOLDER: guest/linux as a patch series for a Linux source tree, into a folder.
 *
 * What older kernels need stays outside of it (virtio_compat.h). The patches apply to TREE with `git am` or `patch -p1`.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GUEST = fileURLToPath(new URL('../../guest/linux/', import.meta.url));
const own = (name: string): string => readFileSync(join(GUEST, name), 'utf8');

const DRIVER = 'drivers/misc/virtio_misc';
const SELFTESTS = 'tools/testing/selftests/drivers/virtio_misc';
const SAMPLE = 'samples/virtio_misc';
/** The functions for other drivers: there is none in the tree yet, so that the tests alone are given them, until the last patch. */
const API = `${DRIVER}/virtio_misc_api.c`;
const KUNIT = `${DRIVER}/virtio_misc_kunit.c`;
const FOR_KUNIT = '#include <kunit/visibility.h>\n\n';

/** Without what differs between the kernels that the modules are built for elsewhere, and as the tree likes it. */
function forTree(source: string, tree: string): string {
  const ours = source
    .replace('#include "virtio_compat.h"\n', '')
    .replace(/virtio_compat_find_vqs\((.*?), info\)/, 'virtio_find_vqs($1, info, NULL)');
  // Since Linux 7.0.
  const typed = /define kzalloc_obj\(/.test(readFileSync(join(tree, 'include/linux/slab.h'), 'utf8'));
  return typed ? ours.replace(/\bkzalloc\(sizeof\((\*.*?)\), /g, 'kzalloc_obj($1, ') : ours;
}

function uapiHeader(): string {
  return own('include/uapi/linux/virtio_misc.h')
    .replace(/#ifndef VIRTIO_ID_MISC\n.*?#endif\n\n/s, '')
    .replace('#include <linux/types.h>\n', '#include <linux/types.h>\n#include <linux/virtio_ids.h>\n');
}

/** The names of namespaces of symbols are strings since Linux 6.13. */
function importForKunit(tree: string): string {
  const strings = !/define MODULE_IMPORT_NS.*__stringify/.test(
    readFileSync(join(tree, 'include/linux/module.h'), 'utf8'),
  );
  const name = 'EXPORTED_FOR_KUNIT_TESTING';
  return `MODULE_IMPORT_NS(${strings ? `"${name}"` : name});\n`;
}

const exportedForKunit = (source: string): string =>
  source
    .replace('#include <linux/device.h>\n', `${FOR_KUNIT}#include <linux/device.h>\n`)
    .replaceAll('EXPORT_SYMBOL_GPL', 'EXPORT_SYMBOL_IF_KUNIT');

const exportedForAll = (source: string): string =>
  source.replace(FOR_KUNIT, '').replaceAll('EXPORT_SYMBOL_IF_KUNIT', 'EXPORT_SYMBOL_GPL');

/** The tests of the loadable selftest, as a KUnit suite. */
function kunit(tree: string): string {
  const selftest = own('virtio_misc_selftest.c');
  const [head] = selftest.split('static const struct {\n\tconst char *name;');
  const tests = [...selftest.matchAll(/^static bool test_(\w+)\(void\)$/gm)].map(([, name]) => name!);
  const body = head!
    .replace(/^\/\/ SPDX.*?\*\/\n/s, '')
    .replace(/#define pr_fmt.*\n\n/, '')
    .replace('#include <linux/atomic.h>', '#include <kunit/test.h>\n#include <linux/atomic.h>');
  const cases = tests.map(
    (name) =>
      `static void kunit_${name}(struct kunit *test)\n{\n\tKUNIT_EXPECT_TRUE(test, test_${name}());\n}\n`,
  );
  return `// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what virtio_misc exports to other modules
 *
 * They need a device, the first one: without any they are skipped.
 */
${body}${cases.join('\n')}
static int kunit_init(struct kunit *test)
{
	vdev = virtio_misc_get_device(0);
	if (!vdev)
		kunit_skip(test, "no virtio-misc device");

	return 0;
}

static void kunit_exit(struct kunit *test)
{
	if (vdev)
		virtio_misc_put_device(vdev);
	vdev = NULL;
}

static struct kunit_case virtio_misc_cases[] = {
${tests.map((name) => `\tKUNIT_CASE_SLOW(kunit_${name}),`).join('\n')}
	{}
};

static struct kunit_suite virtio_misc_suite = {
	.name = "virtio_misc",
	.init = kunit_init,
	.exit = kunit_exit,
	.test_cases = virtio_misc_cases,
};

kunit_test_suite(virtio_misc_suite);

${importForKunit(tree)}MODULE_DESCRIPTION("KUnit tests of virtio-misc timers");
MODULE_LICENSE("GPL");
`;
}

/** Inserts a text before (or behind) the first line that matches. */
function insert(text: string, line: RegExp, added: string, behind = false): string {
  const found = line.exec(text);
  if (!found) throw new Error(`the tree has no line ${line}`);
  const at = found.index + (behind ? found[0].length : 0);
  return text.slice(0, at) + added + text.slice(at);
}

/** Files of one patch; a function changes the file that is there. */
interface Patch {
  readonly subject: string;
  readonly body: string;
  readonly files: Readonly<Record<string, string | ((before: string, tree: string) => string)>>;
}

const PATCHES: readonly Patch[] = [
  {
    subject: 'virtio: add the interface of virtio-misc',
    body: `virtio-misc (id 70) keeps timers for the guest. Add its id, the layout
of its requests and notifications, and the interface of its character
device.`,
    files: {
      'include/uapi/linux/virtio_ids.h': (text) =>
        insert(
          text,
          /\n\/\*\n \* Virtio Transitional IDs/,
          '#define VIRTIO_ID_MISC\t\t\t70 /* virtio misc */\n',
        ),
      'include/uapi/linux/virtio_misc.h': uapiHeader(),
      'Documentation/userspace-api/ioctl/ioctl-number.rst': (text) =>
        insert(
          text,
          /^0xC0 .*$/m,
          `0xBD  00-01  linux/virtio_misc.h${' '.repeat(46)}\n`.replace(/ +\n$/, '\n'),
        ),
    },
  },
  {
    subject: 'misc: add a driver for virtio-misc',
    body: `Timers for other drivers, with callbacks in process context that can be
asked for from any context but NMI, and for programs, with a character
device. They survive suspend, and resets that the device asks for.

The functions for other drivers are exported to KUnit only, as nobody else
uses them yet.`,
    files: {
      'include/linux/virtio_misc.h': own('include/linux/virtio_misc.h'),
      [`${DRIVER}/virtio_misc_internal.h`]: own('virtio_misc_internal.h'),
      [`${DRIVER}/virtio_misc_driver.c`]: (_, tree) => forTree(own('virtio_misc_driver.c'), tree),
      [API]: (_, tree) => exportedForKunit(forTree(own('virtio_misc_api.c'), tree)),
      [`${DRIVER}/virtio_misc_chardev.c`]: (_, tree) => forTree(own('virtio_misc_chardev.c'), tree),
      [`${DRIVER}/Kconfig`]: own('series/Kconfig').split('\nconfig VIRTIO_MISC_KUNIT_TEST')[0]!,
      [`${DRIVER}/Makefile`]: `${own('series/Makefile').split('\n\nobj-$(CONFIG_VIRTIO_MISC_KUNIT')[0]}\n`,
      'drivers/misc/Kconfig': (text) =>
        insert(text, /^endmenu$/m, 'source "drivers/misc/virtio_misc/Kconfig"\n'),
      'drivers/misc/Makefile': (text) => `${text}obj-$(CONFIG_VIRTIO_MISC)\t+= virtio_misc/\n`,
      MAINTAINERS: (text) => insert(text, /^VIRTIO PMEM DRIVER$/m, own('series/MAINTAINERS')),
    },
  },
  {
    subject: 'misc: virtio_misc: add KUnit tests',
    body: `Order, atomic context, cancellation, races of it with expiries, periodic
timers, callbacks that set timers: with the first device that there is.`,
    files: {
      [KUNIT]: (_, tree) => kunit(tree),
      [`${DRIVER}/Kconfig`]: own('series/Kconfig'),
      [`${DRIVER}/Makefile`]: own('series/Makefile'),
    },
  },
  {
    subject: 'selftests: add tests of the virtio-misc character device',
    body: `A program that sets timers and prints their expiries, one that looks for
early, lost and doubled ones among thousands, and a script that tells of
both in TAP.`,
    files: {
      [`${SELFTESTS}/Makefile`]: own('series/selftests/Makefile'),
      [`${SELFTESTS}/virtio_misc.sh`]: own('series/selftests/virtio_misc.sh'),
      [`${SELFTESTS}/misc-timer.c`]: own('tools/misc-timer.c').replace(
        '#include "../include/uapi/linux/virtio_misc.h"',
        '#include <linux/virtio_misc.h>',
      ),
      [`${SELFTESTS}/misc-timer-stress.c`]: own('tools/misc-timer-stress.c').replace(
        '#include "../include/uapi/linux/virtio_misc.h"',
        '#include <linux/virtio_misc.h>',
      ),
      'tools/testing/selftests/Makefile': (text) =>
        insert(text, /^TARGETS \+= dt$/m, 'TARGETS += drivers/virtio_misc\n'),
    },
  },
  {
    subject: 'Documentation: describe virtio-misc',
    body: `Say what it is for, what it is not for, and what becomes of timers in a
suspend.`,
    files: {
      'Documentation/driver-api/virtio/virtio_misc.rst': own('series/Documentation/virtio_misc.rst'),
      'Documentation/driver-api/virtio/index.rst': (text) =>
        insert(text, /^ +writing_virtio_drivers$/m, '\n   virtio_misc', true),
    },
  },
  {
    subject: 'samples: show how a driver uses virtio-misc timers',
    body: `Export the functions for other drivers, and show them in a module.

Not to be merged before a driver needs them: it takes this patch, less the
sample if that teaches nothing more, into its own series.`,
    files: {
      [API]: exportedForAll,
      [KUNIT]: (text) => text.replace(/^MODULE_IMPORT_NS.*\n/m, ''),
      [`${SAMPLE}/virtio_misc_demo.c`]: own('virtio_misc_demo.c'),
      [`${SAMPLE}/Makefile`]: `# SPDX-License-Identifier: GPL-2.0-only

obj-$(CONFIG_SAMPLE_VIRTIO_MISC) += virtio_misc_demo.o
`,
      'samples/Kconfig': (text) =>
        insert(text, /^source "samples\/rust\/Kconfig"$/m, own('series/Kconfig.sample')),
      'samples/Makefile': (text) => `${text}obj-$(CONFIG_SAMPLE_VIRTIO_MISC)\t+= virtio_misc/\n`,
      MAINTAINERS: (text) =>
        insert(text, /^F:\tinclude\/uapi\/linux\/virtio_misc\.h\n/m, `F:\t${SAMPLE}/\n`, true),
    },
  },
];

const isThere = (tree: string, file: string): boolean => existsSync(join(tree, file));

/**
 * Writes the series for a source tree.
 *
 * @param author - of the patches, as git has it: `Name <address>`.
 * @returns the patches' files, in order.
 */
export function writeSeries(tree: string, folder: string, author: string): string[] {
  const [, name, email] = /^(.*) <(.*)>$/.exec(author) ?? [];
  if (!name || !email) throw new Error(`an author is 'Name <address>', not '${author}'`);
  const work = mkdtempSync(join(tmpdir(), 'virtio-misc-series-'));
  const identity = ['-c', `user.name=${name}`, '-c', `user.email=${email}`, '-c', 'commit.gpgsign=false'];
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', work, ...identity, ...args], { encoding: 'utf8' });
  try {
    git('init', '-q');
    const changed = PATCHES.flatMap(({ files }) => Object.keys(files)).filter((file) => isThere(tree, file));
    for (const file of changed) {
      mkdirSync(dirname(join(work, file)), { recursive: true });
      cpSync(join(tree, file), join(work, file));
    }
    git('add', '-A');
    git('commit', '-q', '-m', 'the tree');
    for (const { subject, body, files } of PATCHES) {
      for (const [file, what] of Object.entries(files)) {
        const path = join(work, file);
        mkdirSync(dirname(path), { recursive: true });
        const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
        writeFileSync(path, typeof what === 'string' ? what : what(before, tree));
        if (file.endsWith('.sh')) chmodSync(path, 0o755);
      }
      git('add', '-A');
      git('commit', '-q', '-s', '-m', `${subject}\n\n${body}`);
    }
    mkdirSync(folder, { recursive: true });
    git(
      'format-patch',
      '-q',
      `-${PATCHES.length}`,
      '--cover-letter',
      '--cover-from-description=none',
      '-o',
      folder,
    );
    const patches = readdirSync(folder)
      .filter((file) => file.endsWith('.patch'))
      .sort()
      .map((file) => join(folder, file));
    const [subject, ...blurb] = own('series/cover-letter').trim().split('\n');
    const [letter] = patches;
    const text = readFileSync(letter!, 'utf8')
      .replace('*** SUBJECT HERE ***', () => subject!)
      .replace('*** BLURB HERE ***', () => blurb.join('\n').trim());
    writeFileSync(letter!, text);
    return patches;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [tree, folder] = process.argv.slice(2);
  if (!tree || !folder) {
    process.stderr.write('usage: npm run kernel-series -- TREE FOLDER\n');
    process.exitCode = 2;
  } else {
    const ident = execFileSync('git', ['var', 'GIT_AUTHOR_IDENT'], { encoding: 'utf8' }).replace(/>.*/s, '>');
    for (const file of writeSeries(tree, folder, ident)) process.stdout.write(`${file}\n`);
  }
}
