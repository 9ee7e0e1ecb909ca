import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import koffi from 'koffi';

/*
 * Imported before a worker's own code: has it kill itself before one of its system calls, counted from the moment at which it is given a
 * front-end. Which one is in a file, `any 17` or `sendmsg 2`, which is taken by the first worker that sees it; `sendmsg 2 each` stays there, for each.
 */

const file = process.env.VIRTIO_MISC_DIE_AT;
const isWorker = process.env.VIRTIO_MISC_KEEPER !== undefined;

/** Calls that are left, and of what name; `undefined` before it has a front-end, or where it may live. */
let left: number | undefined;
let counted = 'any';

function begin(): void {
  try {
    const [name, count, each] = readFileSync(file!, 'utf8').trim().split(' ');
    if (each !== 'each') rmSync(file!);
    counted = name!;
    left = Number(count);
  } catch {
    left = undefined;
  }
}

function called(name: string): void {
  // How a front-end's socket begins to be read.
  if (name === 'setsockopt') begin();
  if (left === undefined || (counted !== 'any' && counted !== name)) return;
  left -= 1;
  if (left !== 0) return;
  appendFileSync(`${file}-died`, 'one\n');
  process.kill(process.pid, 'SIGKILL');
}

if (isWorker && file !== undefined) {
  const { load } = koffi;
  koffi.load = (...args: Parameters<typeof load>) => {
    const library = load(...args);
    return new Proxy(library, {
      get(target, key) {
        const value = Reflect.get(target, key) as unknown;
        if (key !== 'func' || typeof value !== 'function') return value;
        return (prototype: string) => {
          const call = value.call(target, prototype) as (...words: unknown[]) => unknown;
          const [, name = ''] = /(\w+)\(/.exec(prototype) ?? [];
          return new Proxy(call, {
            apply(one, self, words) {
              called(name);
              return Reflect.apply(one, self, words);
            },
          });
        };
      },
    });
  };
}

/** The environment of processes in which it is imported. */
export function dieAt(path: string): Record<string, string> {
  return { NODE_OPTIONS: `--import ${import.meta.url}`, VIRTIO_MISC_DIE_AT: path };
}

/**
 * From now on each worker dies in the n-th message that is new to it. With its first it says that it serves, with its second it does what the last worker died of.
 *
 * @param path - as for `dieAt`.
 */
export function dieInEach(path: string, n: number): void {
  writeFileSync(path, `sendmsg ${2 + n} each`);
}

/** How many died so. The log does not say each of them: it is limited. */
export function diedAt(path: string): number {
  const deaths = `${path}-died`;
  return existsSync(deaths) ? readFileSync(deaths, 'utf8').split('\n').length - 1 : 0;
}
