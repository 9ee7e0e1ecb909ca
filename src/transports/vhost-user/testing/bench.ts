import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { GuestAllocator } from '../../../memory/guest-allocator.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import type { DriverQueue } from '../../../virtqueue/driver-queue.js';
import { PackedDriverQueue } from '../../../virtqueue/packed/driver.js';
import { SplitDriverQueue } from '../../../virtqueue/split/driver.js';
import type { Keep } from '../../keep.js';
import type { Channel, EventPort, Mapping } from '../../ports.js';
import type { Session } from '../../session.js';
import { type FakeEvent, FakeOs } from '../../testing/fake-os.js';
import { MortalSession } from '../../testing/mortal-session.js';
import { serveVhostUser } from '../device/backend.js';
import { F_PROTOCOL_FEATURES, REQUEST } from '../messages.js';
import { encodeRegions, encodeU64, encodeVringAddress, encodeVringState } from '../payloads.js';
import { RawFrontend } from './raw-frontend.js';

/** Where the bench's guest memory begins for the guest, and for the front-end. */
export const GUEST_START = 0x4000_0000 as GuestAddress;
export const USER_START = 0x7f12_3456_7000 as FrontendAddress;
export const MEMORY_SIZE: number = 1 << 20;

/** What differs from a ring that starts for the first time. */
export interface RingOptions {
  /** Where the ring begins unless told. */
  readonly base?: number;
}

/** A device that is served over a fake operating system, with a front-end to drive it by hand. */
export class Bench {
  readonly os: FakeOs;
  readonly clock: FakeClock = new FakeClock();
  readonly warnings: string[] = [];
  readonly frontend: RawFrontend;
  /** The first, of a mortal back-end. */
  readonly session: Session;
  readonly mortal: MortalSession | undefined;
  /** Set when the session ended by itself. */
  ended: { readonly error: Error | undefined } | undefined;
  readonly memory: GuestMemory = new GuestMemory();
  readonly allocator: GuestAllocator = new GuestAllocator(GUEST_START, MEMORY_SIZE);
  readonly memoryFd: number;
  readonly #mapping: Mapping;
  readonly #events: EventPort[] = [];
  #next: VirtioDevice;

  /**
   * @param ringFeatures - what the device offers.
   * @param inband - in-band notifications too.
   * @param after - what an earlier session left, or whether its process may die.
   */
  constructor(
    device: VirtioDevice,
    ringFeatures?: bigint,
    inband = false,
    after: { readonly os?: FakeOs; readonly keep?: Keep; readonly mortal?: boolean } = {},
  ) {
    this.os = after.os ?? new FakeOs();
    const { fd: memoryFd, mapping } = this.os.createMemory('bench', MEMORY_SIZE);
    this.memoryFd = memoryFd;
    this.#mapping = mapping;
    this.memory.add({ start: GUEST_START, view: mapping.view });
    const environment = {
      os: this.os,
      clock: this.clock,
      defer: this.os.defer,
      print: () => {},
      warn: (line: string) => void this.warnings.push(line),
      ringFeatures,
      inband,
    };
    const { channel, fd } = this.os.createChannel();
    this.frontend = new RawFrontend(channel, this.os);
    const server = this.os.adoptChannel(fd);
    const start = (served: Channel, next: VirtioDevice, keep = after.keep): Session => {
      const all = { ...environment, ...(keep !== undefined && { keep }) };
      return serveVhostUser(served, next, all, (error) => {
        this.ended = { error };
      });
    };
    this.#next = device;
    if (after.mortal === true)
      this.mortal = new MortalSession(this.os, server, (served, keep) => start(served, this.#next, keep));
    this.session = this.mortal?.session ?? start(server, device);
  }

  /** The process of a mortal back-end dies, and the next one goes on with what the keeper has. */
  restart(device: VirtioDevice): void {
    this.#next = device;
    this.mortal!.die();
    this.os.run();
  }

  /** Says something, and lets it have its effect. */
  say(...message: Parameters<RawFrontend['send']>): void {
    this.frontend.send(...message);
    this.os.run();
  }

  /** Says something that wants an acknowledgement. @returns the u64 of it. */
  ask(request: number, payload?: Uint8Array, fds: readonly number[] = []): bigint {
    this.say(request, payload, { fds, needReply: true });
    return this.frontend.takeU64(request);
  }

  /** SET_FEATURES and SET_MEM_TABLE, as QEMU does before it starts rings. */
  negotiate(features: bigint = F_PROTOCOL_FEATURES): void {
    this.say(REQUEST.SET_FEATURES, encodeU64(features));
    this.say(REQUEST.SET_MEM_TABLE, this.memoryTable(), { fds: [this.memoryFd] });
  }

  /** SET_MEM_TABLE's payload for the bench's one region. */
  memoryTable(): Uint8Array {
    const region = { guestAddress: GUEST_START, size: MEMORY_SIZE, userAddress: USER_START, mmapOffset: 0 };
    return encodeRegions([region]);
  }

  /** A ring in the bench's memory, with events of its own. */
  ring(index: number, size = 8, base = 0): BenchRing {
    return this.#ring(index, new SplitDriverQueue<number>({ ...this.#options(size), base }));
  }

  /** A packed ring, likewise. */
  packedRing(index: number, size: number): BenchRing {
    return this.#ring(index, new PackedDriverQueue<number>(this.#options(size)));
  }

  #options(size: number) {
    return { memory: this.memory, allocator: this.allocator, size, eventIdx: false, indirect: false };
  }

  #ring(index: number, queue: DriverQueue<number>): BenchRing {
    const ring = new BenchRing(this, index, queue);
    this.#events.push(ring.kick, ring.call, ring.err);
    return ring;
  }

  /** Closes what the bench itself holds, and lets the back-end see it. */
  close(): void {
    this.frontend.close();
    for (const event of this.#events.splice(0)) event.close();
    this.os.closeFd(this.memoryFd);
    this.#mapping.release();
    this.os.run();
  }
}

/** One ring of a bench, the driver's and the front-end's half of it. */
export class BenchRing {
  readonly index: number;
  readonly queue: DriverQueue<number>;
  readonly kick: FakeEvent;
  readonly call: FakeEvent;
  readonly err: FakeEvent;
  readonly #bench: Bench;

  constructor(bench: Bench, index: number, queue: DriverQueue<number>) {
    this.#bench = bench;
    this.index = index;
    this.queue = queue;
    this.kick = bench.os.createEvent();
    this.call = bench.os.createEvent();
    this.err = bench.os.createEvent();
  }

  /** What SET_VRING_ADDR says of it. */
  get addresses(): Uint8Array {
    return this.addressesWith({});
  }

  /** The same, with what is different about the log. */
  addressesWith({ flags = 0, log = 0 }: { readonly flags?: number; readonly log?: number }): Uint8Array {
    const user = (address: GuestAddress): FrontendAddress =>
      (USER_START + (address - GUEST_START)) as FrontendAddress;
    return encodeVringAddress({
      index: this.index,
      flags,
      log: log as GuestAddress,
      descriptor: user(this.queue.descriptorArea),
      available: user(this.queue.driverArea),
      used: user(this.queue.deviceArea),
    });
  }

  /** All that QEMU says of a ring but its last word, SET_VRING_ENABLE. */
  start({ base = 0 }: RingOptions = {}): void {
    const { index, queue } = this;
    this.#bench.say(REQUEST.SET_VRING_NUM, encodeVringState({ index, num: queue.size }));
    this.#bench.say(REQUEST.SET_VRING_BASE, encodeVringState({ index, num: base }));
    this.#bench.say(REQUEST.SET_VRING_ADDR, this.addresses);
    this.#bench.say(REQUEST.SET_VRING_KICK, encodeU64(BigInt(index)), { fds: [this.kick.fd] });
    this.#bench.say(REQUEST.SET_VRING_CALL, encodeU64(BigInt(index)), { fds: [this.call.fd] });
    this.#bench.say(REQUEST.SET_VRING_ERR, encodeU64(BigInt(index)), { fds: [this.err.fd] });
  }

  enable(on = true): void {
    this.#bench.say(REQUEST.SET_VRING_ENABLE, encodeVringState({ index: this.index, num: on ? 1 : 0 }));
  }

  /** GET_VRING_BASE, without waiting for the answer. */
  stop(): void {
    this.#bench.say(REQUEST.GET_VRING_BASE, encodeVringState({ index: this.index, num: 0 }));
  }

  /** The base that a `stop` was answered with. @throws Error when it was not. */
  takeBase(): number {
    const state = this.#bench.frontend.take(REQUEST.GET_VRING_BASE);
    if (state.getUint32(0, true) !== this.index) throw new Error('the answer is about another ring');
    return state.getUint32(4, true);
  }

  /** Adds a request of one byte with room for the answer; the device is kicked unless told otherwise. */
  request(byte: number, kick = true): void {
    const readable = this.#bench.allocator.alloc(1);
    const writable = this.#bench.allocator.alloc(1);
    this.#bench.memory.write(readable.address, new Uint8Array([byte]));
    if (!this.queue.add([readable], [writable], writable.address)) throw new Error('the ring is full');
    this.queue.publish();
    if (kick) this.kick.signal();
    this.#bench.os.run();
  }

  /** The answers that came since the last call; -1 for one that nothing was written to. */
  answers(): number[] {
    const bytes: number[] = [];
    for (let used = this.queue.reap(); used !== undefined; used = this.queue.reap()) {
      const byte = new Uint8Array(1);
      this.#bench.memory.read(used.token as GuestAddress, byte);
      bytes.push(used.written === 1 ? byte[0]! : -1);
    }
    return bytes;
  }
}
