import { appendFileSync } from 'node:fs';

/*
 * Loaded before the program with `--import` and `--expose-gc`: a line with the process's number and what it needs after a collection, bytes, each so many ms
 * (VIRTIO_MISC_HEAP_EVERY), into a file (VIRTIO_MISC_HEAP_WORDS). Each of the program's processes does so.
 */

const { VIRTIO_MISC_HEAP_WORDS: file, VIRTIO_MISC_HEAP_EVERY: every } = process.env;

if (file !== undefined && globalThis.gc !== undefined) {
  const collect = globalThis.gc;
  setInterval(() => {
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    appendFileSync(file, `${process.pid} ${heapUsed + external} ${rss}\n`);
  }, Number(every)).unref();
}
