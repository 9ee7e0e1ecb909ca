import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findTool } from '../src/vm/qemu.js';
import { alternate } from './harness/alternate.js';
import { appears } from './harness/appears.js';
import type { Bench, BenchContext, Cell, Started, Table } from './harness/bench.js';
import { figure, ratio } from './harness/figure.js';
import { serveCommand } from './harness/serve-command.js';

const BLK = fileURLToPath(new URL('../examples/blk.js', import.meta.url));
const NULL = fileURLToPath(new URL('./blk/null.js', import.meta.url));
const LOAD = fileURLToPath(new URL('./blk/load.js', import.meta.url));
const OUTSTANDING = [1, 8, 32];
/** Bytes of the disk; ms: before each round, and measured. */
const DISK = 64 << 20;
const WARM = 300;
const SPAN = 700;

/** Reads and writes of 4 KiB by our driver, from `examples/blk.ts` and from qemu-storage-daemon. */
export const blk: Bench = async (context) => {
  context.progress('blk: getting qemu-storage-daemon');
  const daemon = await findTool('qemu-storage-daemon');
  const image = join(context.folder, 'disk.img');
  writeFileSync(image, new Uint8Array(DISK));
  const serve = (device: string): string[] => serveCommand(device, '--vhost-user');
  const node = (description: string) => (socket: string) => [
    ...daemon,
    '--blockdev',
    `node-name=disk,${description}`,
    '--export',
    `type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=${socket}`,
  ];
  return [
    await measure(context, 'no disk', {
      'qemu-storage-daemon, null-co': node(`driver=null-co,size=${DISK},read-zeroes=on`),
      'bench/blk/null.ts': (socket) => [...serve(NULL), socket],
    }),
    await measure(
      context,
      'the same image file',
      {
        'qemu-storage-daemon, file': node(`driver=file,filename=${image}`),
        'examples/blk.ts': (socket) => [...serve(BLK), socket],
      },
      { DISK: image },
    ),
  ];
};

async function measure(
  context: BenchContext,
  title: string,
  contenders: Readonly<Record<string, (socket: string) => readonly string[]>>,
  env: Readonly<Record<string, string>> = {},
): Promise<Table> {
  const [first, second] = context.cpus;
  const names = Object.keys(contenders);
  const sockets = names.map((_, index) => join(context.folder, `blk-${title.length}-${index}.sock`));
  const served: Started[] = [];
  const rows: Cell[][] = [];
  try {
    for (const [index, socket] of sockets.entries()) {
      const process = context.start(contenders[names[index]!]!(socket), { cpu: first, env });
      served.push(process);
      await appears(socket, process);
    }
    for (const what of ['read', 'write']) {
      for (const outstanding of context.quick ? [1] : OUTSTANDING) {
        const samples = await alternate(
          context.rounds,
          sockets.map((socket, index) => async () => {
            context.progress(`blk: ${title}: ${names[index]}, ${what}, ${outstanding} outstanding`);
            const numbers = [outstanding, context.time(WARM), context.time(SPAN)].map(String);
            const line = await context.run([process.execPath, LOAD, socket, what, ...numbers], {
              cpu: second,
            });
            return (JSON.parse(line) as { rate: number }).rate;
          }),
        );
        names.forEach((name, index) => {
          rows.push([
            name,
            what,
            outstanding,
            figure(samples[index]!),
            index === 0 ? undefined : ratio(samples[index]!, samples[0]!),
          ]);
        });
      }
    }
  } finally {
    await Promise.all(served.map((process) => process.stop()));
  }
  return {
    title: `blk: 4 KiB anywhere, ${title}`,
    columns: ['back end', '', 'outstanding', 'requests/s', 'ratio to C'],
    rows,
    notes: [
      "The driver is examples/blk-driver.ts in a process of its own, for both: at many outstanding it is the driver's speed that is seen.",
    ],
  };
}
