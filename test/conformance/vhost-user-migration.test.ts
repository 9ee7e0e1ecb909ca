import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { connectVhostUser } from '../../src/connect.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { GuestAllocator, type GuestBuffer } from '../../src/memory/guest-allocator.js';
import { type Server, serve } from '../../src/serve.js';
import { VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1 } from '../../src/virtio/features.js';
import type { MakeDevice } from '../../src/virtio/make-device.js';
import type { DriverQueue } from '../../src/virtqueue/driver-queue.js';
import { PackedDriverQueue } from '../../src/virtqueue/packed/driver.js';
import { SplitDriverQueue } from '../../src/virtqueue/split/driver.js';

/* What a VMM does to move a guest, over real sockets: it has the back-end log what it writes, and carries its state to another. */

const PAGE = 4096;
const SIZE = 16;

/** Servers of a device at so many sockets. */
async function servers(
  make: MakeDevice,
  count: number,
  packed: boolean,
  work: (sockets: string[], warnings: string[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const sockets = Array.from({ length: count }, (_, i) => join(folder, `${i}.sock`));
  const warnings: string[] = [];
  const open: Server[] = [];
  try {
    for (const vhostUser of sockets) {
      const warn = (line: string): void => void warnings.push(line);
      open.push(await serve(make, { vhostUser, print: false, warn, features: { packed } }));
    }
    await work(sockets, warnings);
  } finally {
    for (const server of open) server.close();
    rmSync(folder, { recursive: true });
  }
}

/** A request of virtio-test, and room for its answer, on pages of their own. */
interface Slot {
  readonly request: GuestBuffer;
  readonly answer: GuestBuffer;
  number: number;
}

/** A driver of virtio-test that knows which page is written by whom. */
class LoggedDriver {
  readonly transport: Awaited<ReturnType<typeof connectVhostUser>>;
  readonly queue: DriverQueue<Slot>;
  readonly #slots: Slot[];
  readonly #requests: ReadonlySet<number>;
  #numbers = 0;
  #kick: (nextPlace: number) => void = () => {};

  private constructor(transport: Awaited<ReturnType<typeof connectVhostUser>>, packed: boolean) {
    this.transport = transport;
    const { memory } = transport;
    const { start, view } = memory.regions[0]!;
    const allocator = new GuestAllocator(start, view.length);
    const options = { memory, allocator, size: SIZE, eventIdx: false, indirect: false };
    this.queue = packed ? new PackedDriverQueue(options) : new SplitDriverQueue(options);
    this.#slots = Array.from({ length: SIZE / 2 }, () => ({
      request: allocator.alloc(PAGE, PAGE),
      answer: allocator.alloc(PAGE, PAGE),
      number: 0,
    }));
    this.#requests = new Set(this.#slots.map(({ request }) => pageOf(request.address)));
  }

  /** Whether this is the page of a request, which a device only reads. */
  isRequest(page: number): boolean {
    return this.#requests.has(page);
  }

  static async open(path: string, packed: boolean): Promise<LoggedDriver> {
    const transport = await connectVhostUser(path, { memorySize: 64 * PAGE });
    const driver = new LoggedDriver(transport, packed);
    await transport.reset();
    await transport.acceptFeatures(VIRTIO_F_VERSION_1 | (packed ? VIRTIO_F_RING_PACKED : 0n));
    const { size, base, descriptorArea, driverArea, deviceArea } = driver.queue;
    const place = { size, descriptorArea, driverArea, deviceArea };
    driver.#kick = await transport.startQueue(0, place, base, () => {});
    await transport.start();
    return driver;
  }

  /** Sends some requests. @returns the pages that their answers will be on. */
  send(count: number): number[] {
    return this.#slots.splice(0, count).map((slot) => {
      const { request, answer } = slot;
      slot.number = this.#numbers++;
      const bytes = new DataView(new ArrayBuffer(48));
      bytes.setUint32(4, slot.number, true);
      this.transport.memory.write(request.address, new Uint8Array(bytes.buffer));
      const [readable, writable] = [
        { ...request, length: 48 },
        { ...answer, length: 12 },
      ];
      assert.ok(this.queue.add([readable], [writable], slot));
      if (this.queue.publish()) this.#kick(this.queue.nextPlace);
      return pageOf(answer.address);
    });
  }

  /** Waits until all are answered, and rightly. */
  async answered(): Promise<void> {
    while (this.queue.inFlight > 0) {
      await turn();
      for (let used = this.queue.reap(); used !== undefined; used = this.queue.reap()) {
        const { token: slot, written } = used;
        const bytes = new Uint8Array(12);
        this.transport.memory.read(slot.answer.address, bytes);
        assert.equal(written, 12);
        assert.equal(new DataView(bytes.buffer).getUint32(0, true), slot.number + 100);
        this.#slots.push(slot);
      }
    }
  }

  /** Pages that the device may write, by what the driver gave it. */
  get deviceAreas(): number[] {
    const { descriptorArea, deviceArea } = this.queue;
    // A used descriptor goes into the ring itself; so small an area lies on one page.
    return [descriptorArea, deviceArea].map(pageOf);
  }

  get used(): number {
    return pageOf(
      this.queue instanceof PackedDriverQueue ? this.queue.descriptorArea : this.queue.deviceArea,
    );
  }

  /** Its memory, copied. */
  copy(): Uint8Array {
    const { start, view } = this.transport.memory.regions[0]!;
    const bytes = new Uint8Array(view.length);
    this.transport.memory.read(start, bytes);
    return bytes;
  }

  /** Where a page begins in that copy. */
  placeOf(page: number): number {
    return page * PAGE - this.transport.memory.regions[0]!.start;
  }
}

function pageOf(address: number): number {
  return Math.floor(address / PAGE);
}

for (const packed of [false, true]) {
  const rings = packed ? 'packed' : 'split';
  test(`vhost-user Migration: over a real socket each page that a device writes is marked, and no other, switched on and off under load, ${rings}`, async () => {
    await servers(virtioTest(), 1, packed, async ([socket], warnings) => {
      const driver = await LoggedDriver.open(socket!, packed);
      const { transport } = driver;
      const taken = (): number[] => transport.takeDirtyPages().map(pageOf);
      for (let round = 0; round < 10; round++) {
        // Some are under way when it is switched: they may be marked.
        const early = driver.send(round % 4);
        await transport.startLog();
        const late = driver.send(3);
        await driver.answered();
        const marked = new Set(taken());
        for (const page of [...late, driver.used]) assert.ok(marked.has(page), `${round}: page ${page}`);
        const may = new Set([...early, ...late, ...driver.deviceAreas]);
        assert.deepEqual(
          [...marked].filter((page) => !may.has(page)),
          [],
        );
        assert.deepEqual(taken(), []);
        driver.send(round % 3);
        await transport.stopLog();
        driver.send(2);
        await driver.answered();
        assert.deepEqual(taken(), []);
      }
      transport.close();
      assert.deepEqual(warnings, []);
    });
  });

  test(`vhost-user Migration: memory that is copied while a device works, and again what is marked, is what the device left, ${rings}`, async () => {
    await servers(virtioTest(), 1, packed, async ([socket], warnings) => {
      const driver = await LoggedDriver.open(socket!, packed);
      const { transport } = driver;
      await transport.startLog();
      driver.send(8);
      const copy = driver.copy();
      await driver.answered();
      for (let round = 0; round < 20; round++) {
        driver.send(1 + (round % 7));
        if (round % 2 === 0) await turn();
        // As a VMM does: what was marked before it looks is copied after.
        for (const page of transport.takeDirtyPages().map(pageOf)) {
          const at = driver.placeOf(page);
          copy.set(driver.copy().subarray(at, at + PAGE), at);
        }
        await driver.answered();
      }
      driver.send(4);
      await transport.pause();
      const now = driver.copy();
      for (const page of transport.takeDirtyPages().map(pageOf)) {
        const at = driver.placeOf(page);
        copy.set(now.subarray(at, at + PAGE), at);
      }
      // What the driver itself writes is for whoever logs the driver.
      const own = new Set([driver.queue.descriptorArea, driver.queue.driverArea].map(pageOf));
      const differing: number[] = [];
      const { start } = transport.memory.regions[0]!;
      for (let at = 0; at < now.length; at += PAGE) {
        const page = pageOf(start + at);
        const same = Buffer.compare(now.subarray(at, at + PAGE), copy.subarray(at, at + PAGE)) === 0;
        if (!same && !own.has(page) && !driver.isRequest(page)) differing.push(page);
      }
      assert.deepEqual(differing, []);
      transport.close();
      assert.deepEqual(warnings, []);
    });
  });

  test(`vhost-user Device state: timers go on in another back-end, by what is left of each, ${rings}`, async () => {
    await servers(virtioMisc(), 2, packed, async ([from, to], warnings) => {
      const [source, target] = [await connectVhostUser(from!), await connectVhostUser(to!)];
      const [old, fresh] = [await MiscDriver.open(source), await MiscDriver.open(target)];
      const early: unknown[] = [];
      const expired: unknown[] = [];
      for (const delay of [900, 600, 300]) await old.setTimer(delay, (id) => early.push(id), delay);
      // The same ids, of timers that would not expire before this test is forgotten.
      for (const context of [300, 200, 100])
        await fresh.setTimer(86_400_000, (id) => expired.push(id), context);
      await assert.rejects(source.saveState(), /refused SET_DEVICE_STATE_FD/);
      await source.pause();
      // A machine that is busy enough lets some expire before.
      for (let i = 0; i < 3; i++) await source.readConfig(0, 4);
      const before = early.length;
      const state = await source.saveState();
      await target.pause();
      await assert.rejects(target.loadState(state.subarray(0, state.length - 1)), { code: 'REFUSED' });
      await target.loadState(state);
      await target.resume();
      while (expired.length < 3 - before) await turn();
      assert.deepEqual(expired, [100, 200, 300].slice(before));
      // The source stood still meanwhile, and goes on: nothing of it was used up.
      assert.equal(early.length, before);
      await source.resume();
      while (early.length < 3) await turn();
      assert.deepEqual(early, [300, 600, 900]);
      await Promise.all([old.close(), fresh.close()]);
      assert.equal(warnings.length, 2);
      assert.match(warnings[0]!, /DEVICE_STATE/);
    });
  });
}
