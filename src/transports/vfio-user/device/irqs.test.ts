import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as pci from '../../pci/pci-registers.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import type { FakeEvent } from '../../testing/fake-os.js';
import { encodeIrqSet } from '../codec.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { number, RawDriver } from '../testing/raw-driver.js';
import { ERRNO } from '../vfio-user-error.js';

const { EINVAL, ENOTSUP } = ERRNO;
const {
  VFIO_IRQ_SET_DATA_NONE: NONE,
  VFIO_IRQ_SET_DATA_BOOL: BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD: EVENTFD,
  VFIO_IRQ_SET_ACTION_MASK: MASK,
  VFIO_IRQ_SET_ACTION_UNMASK: UNMASK,
  VFIO_IRQ_SET_ACTION_TRIGGER: TRIGGER,
  VFIO_PCI_INTX_IRQ_INDEX: INTX,
  VFIO_PCI_MSIX_IRQ_INDEX: MSIX,
} = wire;

/** A client with a driver, and events to bind. */
class Bench {
  readonly device = new ProbeDevice();
  readonly client: RawClient;
  readonly driver: RawDriver;
  readonly events: FakeEvent[];

  constructor(vectors?: number) {
    this.client = new RawClient(this.device, vectors === undefined ? {} : { vectors });
    this.client.negotiate();
    this.driver = new RawDriver(this.client, true);
    this.events = [0, 1, 2].map(() => this.client.os.createEvent());
  }

  /** SET_IRQS. @returns the errno, 0 for success. */
  set(
    flags: number,
    index: number,
    start: number,
    count: number,
    events: readonly FakeEvent[] = [],
    bools: readonly number[] = [],
  ): number {
    const set = encodeIrqSet({ flags, index, start, count, bools: Uint8Array.from(bools) });
    return this.client.ask(
      wire.VFIO_USER_DEVICE_SET_IRQS,
      set,
      events.map(({ fd }) => fd),
    ).error;
  }

  /** Signals of each event since the last call. */
  signals(): number[] {
    const now = this.events.map(({ signals }) => signals);
    const since = now.map((count, i) => count - (this.#seen[i] ?? 0));
    this.#seen = now;
    return since;
  }

  #seen: number[] = [];

  /** Enables MSI-X; queue 0 gets vector 1. */
  enableMsix(): void {
    const config = wire.VFIO_PCI_CONFIG_REGION_INDEX;
    this.client.write(config, 0x40 + pci.PCI_MSIX_FLAGS, number(2, pci.PCI_MSIX_FLAGS_ENABLE));
    this.driver.start();
    this.driver.common(0x10, 2, 0);
    this.driver.common(0x1a, 2, 1);
  }

  use(): void {
    assert.ok(this.driver.request(Uint8Array.of(1, 2), 2));
  }
}

test('MSI-X: a used buffer signals the eventfd of the queue’s vector, whoever masks the table', () => {
  const bench = new Bench();
  assert.equal(bench.set(EVENTFD | TRIGGER, MSIX, 0, 3, bench.events), 0);
  bench.enableMsix();
  bench.use();
  assert.deepEqual(bench.signals(), [0, 1, 0]);
  bench.device.host!.configChanged();
  assert.deepEqual(bench.signals(), [1, 0, 0]);
});

test('MSI-X: eventfds are set one by one, replaced and taken away; what nobody hears is pending', () => {
  const bench = new Bench();
  bench.enableMsix();
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
  const pba = (): number => bench.client.read(1, 0x800, 1)[0]!;
  bench.client.write(wire.VFIO_PCI_CONFIG_REGION_INDEX, pci.PCI_COMMAND, number(2, 6));
  assert.equal(pba(), 0b10);
  assert.equal(bench.set(EVENTFD | TRIGGER, MSIX, 1, 1, [bench.events[0]!]), 0);
  assert.deepEqual(bench.signals(), [1, 0, 0]);
  assert.equal(pba(), 0);
  const before = bench.client.os.openFds;
  assert.equal(bench.set(EVENTFD | TRIGGER, MSIX, 1, 1, [bench.events[2]!]), 0);
  assert.equal(bench.client.os.openFds, before);
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 1]);
  assert.equal(bench.set(EVENTFD | TRIGGER, MSIX, 1, 1), 0, 'no descriptors: taken away');
  assert.equal(bench.client.os.openFds, before - 1);
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
});

test('MSI-X: count 0 takes all away', () => {
  const bench = new Bench();
  const before = bench.client.os.openFds;
  bench.set(EVENTFD | TRIGGER, MSIX, 0, 3, bench.events);
  assert.equal(bench.client.os.openFds, before + 3);
  assert.equal(bench.set(NONE | TRIGGER, MSIX, 0, 0), 0);
  assert.equal(bench.client.os.openFds, before);
});

test('MSI-X: the client masks vectors; they are pending until it unmasks them', () => {
  const bench = new Bench();
  bench.set(EVENTFD | TRIGGER, MSIX, 0, 3, bench.events);
  bench.enableMsix();
  assert.equal(bench.set(BOOL | MASK, MSIX, 0, 3, [], [0, 1, 0]), 0);
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
  assert.equal(bench.set(NONE | UNMASK, MSIX, 1, 1), 0);
  assert.deepEqual(bench.signals(), [0, 1, 0]);
});

test('the client can trigger interrupts itself', () => {
  const bench = new Bench();
  bench.set(EVENTFD | TRIGGER, MSIX, 0, 3, bench.events);
  assert.equal(bench.set(NONE | TRIGGER, MSIX, 1, 2), 0);
  assert.deepEqual(bench.signals(), [0, 1, 1]);
  assert.equal(bench.set(BOOL | TRIGGER, MSIX, 0, 3, [], [1, 0, 1]), 0);
  assert.deepEqual(bench.signals(), [1, 0, 1]);
});

test('INTx: it fires once and masks itself; unmasked while the line is up it fires again', () => {
  const bench = new Bench(0);
  assert.equal(bench.set(EVENTFD | TRIGGER, INTX, 0, 1, [bench.events[0]!]), 0);
  bench.driver.start();
  bench.use();
  bench.use();
  assert.deepEqual(bench.signals(), [1, 0, 0]);
  assert.equal(bench.set(NONE | UNMASK, INTX, 0, 1), 0);
  assert.deepEqual(bench.signals(), [1, 0, 0], 'the line is up still');
  assert.equal(bench.client.read(0, 0x40, 1)[0], 1, 'ISR');
  assert.equal(bench.set(NONE | UNMASK, INTX, 0, 1), 0);
  assert.deepEqual(bench.signals(), [0, 0, 0]);
  bench.use();
  assert.deepEqual(bench.signals(), [1, 0, 0]);
  // The line went down and up again before the client unmasked: it hears of that when it does.
  bench.client.read(0, 0x40, 1);
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
  bench.set(NONE | UNMASK, INTX, 0, 1);
  assert.deepEqual(bench.signals(), [1, 0, 0]);
});

test('INTx: masked by the client it waits; a line that is up fires when an eventfd comes', () => {
  const bench = new Bench(0);
  bench.driver.start();
  bench.use();
  assert.equal(bench.set(EVENTFD | TRIGGER, INTX, 0, 1, [bench.events[0]!]), 0);
  assert.deepEqual(bench.signals(), [1, 0, 0]);
  assert.equal(bench.client.read(0, 0x40, 1)[0], 1);
  bench.set(NONE | UNMASK, INTX, 0, 1);
  assert.equal(bench.set(NONE | MASK, INTX, 0, 1), 0);
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
  bench.set(NONE | UNMASK, INTX, 0, 1);
  assert.deepEqual(bench.signals(), [1, 0, 0]);
});

test('INTx: eventfds of the client’s mask and unmask it without a message, as KVM wants it', () => {
  const bench = new Bench(0);
  const [trigger, unmask, mask] = bench.events as [FakeEvent, FakeEvent, FakeEvent];
  bench.set(EVENTFD | TRIGGER, INTX, 0, 1, [trigger]);
  assert.equal(bench.set(EVENTFD | UNMASK, INTX, 0, 1, [unmask]), 0);
  assert.equal(bench.set(EVENTFD | MASK, INTX, 0, 1, [mask]), 0);
  bench.driver.start();
  bench.use();
  assert.deepEqual(bench.signals(), [1, 0, 0]);
  unmask.signal();
  bench.client.os.run();
  assert.deepEqual(bench.signals(), [1, 1, 0]);
  bench.client.read(0, 0x40, 1);
  unmask.signal();
  bench.client.os.run();
  mask.signal();
  bench.client.os.run();
  bench.signals();
  bench.use();
  assert.deepEqual(bench.signals(), [0, 0, 0]);
});

test('INTx: one eventfd that triggers and unmasks would go round for ever: refused, whichever comes first', () => {
  for (const slots of [
    [TRIGGER, UNMASK],
    [UNMASK, TRIGGER],
    [TRIGGER, MASK],
    [MASK, TRIGGER],
  ] as const) {
    const bench = new Bench(0);
    const before = bench.client.os.openFds;
    const [event, another] = bench.events as [FakeEvent, FakeEvent];
    assert.equal(bench.set(EVENTFD | slots[0], INTX, 0, 1, [event]), 0);
    assert.equal(bench.set(EVENTFD | slots[1], INTX, 0, 1, [event]), EINVAL);
    assert.equal(bench.client.os.openFds, before + 1);
    assert.equal(bench.set(EVENTFD | slots[1], INTX, 0, 1, [another]), 0);
    bench.driver.start();
    bench.use();
    bench.client.os.run();
  }
});

test('INTx: an eventfd that the client ties to the trigger in another way makes it fire 32 times in a ms, no more', () => {
  const bench = new Bench(0);
  const [trigger, unmask] = bench.events as [FakeEvent, FakeEvent];
  bench.set(EVENTFD | TRIGGER, INTX, 0, 1, [trigger]);
  bench.set(EVENTFD | UNMASK, INTX, 0, 1, [unmask]);
  trigger.watch(() => unmask.signal());
  bench.driver.start();
  bench.use();
  assert.equal(bench.signals()[0], 1 + 32);
  bench.client.clock.advance(0.9e6);
  bench.client.os.run();
  assert.equal(bench.signals()[0], 0);
  for (let i = 0; i < 3; i++) {
    bench.client.clock.advance(1e6);
    bench.client.os.run();
    assert.equal(bench.signals()[0], 1 + 32);
  }
  // A driver that takes the line down is served as ever.
  bench.client.read(0, 0x40, 1);
  bench.client.clock.advance(2e6);
  bench.client.os.run();
  bench.signals();
  bench.use();
  assert.equal(bench.signals()[0], 1 + 32);
});

test('error and request eventfds are taken and let go', () => {
  const bench = new Bench();
  const before = bench.client.os.openFds;
  for (const index of [wire.VFIO_PCI_ERR_IRQ_INDEX, wire.VFIO_PCI_REQ_IRQ_INDEX]) {
    assert.equal(bench.set(EVENTFD | TRIGGER, index, 0, 1, [bench.events[0]!]), 0);
    assert.equal(bench.client.os.openFds, before + 1);
    assert.equal(bench.set(NONE | TRIGGER, index, 0, 0), 0);
    assert.equal(bench.client.os.openFds, before);
  }
});

test('what can’t be set is refused, changes nothing and leaks nothing', () => {
  const bench = new Bench();
  bench.set(EVENTFD | TRIGGER, MSIX, 0, 3, bench.events);
  const before = bench.client.os.openFds;
  const [event] = bench.events as [FakeEvent];
  const other = { fd: bench.client.os.createOther() } as FakeEvent;
  for (const refused of [
    [EVENTFD | TRIGGER, 5, 0, 1, [event]],
    [EVENTFD | TRIGGER, MSIX, 3, 1, [event]],
    [EVENTFD | TRIGGER, MSIX, 0, 4],
    [EVENTFD | TRIGGER, MSIX, 0xffff_ffff, 1],
    [EVENTFD | TRIGGER, MSIX, 0, 0xffff_ffff],
    [EVENTFD | TRIGGER, MSIX, 0, 3, [event]],
    [EVENTFD | TRIGGER, MSIX, 0, 1, [event, event]],
    [EVENTFD | TRIGGER, MSIX, 0, 2, [event, other]],
    [EVENTFD | TRIGGER, wire.VFIO_PCI_MSI_IRQ_INDEX, 0, 1, [event]],
    [EVENTFD, MSIX, 0, 1, [event]],
    [TRIGGER, MSIX, 0, 1],
    [NONE | BOOL | TRIGGER, MSIX, 0, 1],
    [NONE | TRIGGER | MASK, MSIX, 0, 1],
    [NONE | TRIGGER | 0x40, MSIX, 0, 1],
    [NONE | TRIGGER, MSIX, 1, 0],
    [BOOL | TRIGGER, MSIX, 0, 3, [], [1]],
  ] as Parameters<Bench['set']>[]) {
    assert.equal(bench.set(...refused), EINVAL, refused.slice(0, 4).join());
  }
  assert.equal(bench.set(EVENTFD | MASK, MSIX, 0, 1, [event]), ENOTSUP);
  assert.equal(bench.client.refused(wire.VFIO_USER_DEVICE_SET_IRQS, new Uint8Array(19)), EINVAL);
  bench.client.os.closeFd(other.fd);
  assert.equal(bench.client.os.openFds, before);
  bench.enableMsix();
  bench.use();
  assert.deepEqual(bench.signals(), [0, 1, 0]);
});
