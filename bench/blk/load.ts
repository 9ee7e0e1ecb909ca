/*
 * `load.js SOCKET read|write OUTSTANDING WARM_MS MS`: requests of 4 KiB anywhere on the disk, so many under way. Prints JSON.
 */
import { BlkDriver, SECTOR } from '../../examples/blk-driver.js';
import { connectVhostUser } from '../../src/connect.js';

const [socket, what, ...numbers] = process.argv.slice(2) as [string, string, ...string[]];
const [outstanding, warm, span] = numbers.map(Number) as [number, number, number];
const BLOCK = 4096 / SECTOR;
const disk = await BlkDriver.open(await connectVhostUser(socket));
const data = new Uint8Array(4096).fill(0x5a);
const blocks = Math.floor(disk.capacity / BLOCK);
let done = 0;
let begun = Infinity;
let over = false;

async function work(): Promise<void> {
  while (!over) {
    const sector = BLOCK * Math.floor(Math.random() * blocks);
    if (what === 'write') await disk.write(sector, data);
    else await disk.read(sector, BLOCK);
    done += 1;
    const now = performance.now();
    over = now - begun >= span;
  }
}

const all = Promise.all(Array.from({ length: outstanding }, work));
setTimeout(() => {
  done = 0;
  begun = performance.now();
}, warm);
await all;
console.log(JSON.stringify({ rate: done / ((performance.now() - begun) / 1e3) }));
await disk.close();
