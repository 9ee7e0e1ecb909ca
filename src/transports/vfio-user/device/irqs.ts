import type { Alarm, Clock } from '../../../virtio/clock.js';
import type { KeptItem, Notes } from '../../keep.js';
import type { EventPort, Os } from '../../ports.js';
import type { IrqSet } from '../codec.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';
import { type IrqSlot, irqKey, irqOf } from './records.js';

/** How often INTx may fire again in a period for want of anything but an unmasking eventfd, which a peer can tie to anything. */
const REFIRES_MOST = 32;
const REFIRE_PERIOD = 1e6;

/** What an interrupt type can do, as GET_IRQ_INFO tells it. */
export interface IrqInfo {
  readonly count: number;
  readonly flags: number;
}

/** One interrupt of one type. */
interface Irq {
  trigger: EventPort | undefined;
  /** Masked by the client, or (INTx) by having fired. */
  masked: boolean;
  /** Events of the client's that mask and unmask it without a message, as the kernel's VFIO has it. */
  mask: EventPort | undefined;
  unmask: EventPort | undefined;
}

/**
 * The client's end of the device's interrupts: SET_IRQS binds eventfds to them. MSI-X vectors without an eventfd, or
 * masked by the client, are held in the function, where their pending bits are.
 */
export class Irqs {
  readonly #os: Os;
  readonly #types: readonly (readonly Irq[])[];
  readonly #holdVector: (vector: number, held: boolean) => void;
  readonly #clock: Clock;
  readonly #note: (notes: Notes) => void;
  #line = false;
  #refires = 0;
  #refireAlarm: Alarm | undefined;

  /**
   * @param holdVector - masks an MSI-X vector in the function; all are held at first.
   * @param note - is told what a process after this one has to have.
   */
  constructor(
    os: Os,
    clock: Clock,
    vectors: number,
    holdVector: (vector: number, held: boolean) => void,
    note: (notes: Notes) => void = () => {},
  ) {
    this.#os = os;
    this.#note = note;
    this.#clock = clock;
    this.#holdVector = holdVector;
    const irqs = (count: number): Irq[] =>
      Array.from({ length: count }, () => ({
        trigger: undefined,
        masked: false,
        mask: undefined,
        unmask: undefined,
      }));
    // INTx, MSI, MSI-X, error, request to let go: the last two are taken, and never happen.
    this.#types = [irqs(1), irqs(0), irqs(vectors), irqs(1), irqs(1)];
    for (let vector = 0; vector < vectors; vector++) holdVector(vector, true);
  }

  /** @throws VfioUserError `EINVAL` when there is no such type. */
  info(index: number): IrqInfo {
    const type = this.#types[index];
    if (type === undefined) throw new VfioUserError('EINVAL', `there is no interrupt type ${index}`);
    if (type.length === 0) return { count: 0, flags: 0 };
    let flags = wire.VFIO_IRQ_INFO_EVENTFD;
    if (index === wire.VFIO_PCI_INTX_IRQ_INDEX) {
      flags |= wire.VFIO_IRQ_INFO_MASKABLE | wire.VFIO_IRQ_INFO_AUTOMASKED;
    } else if (index === wire.VFIO_PCI_MSIX_IRQ_INDEX) {
      flags |= wire.VFIO_IRQ_INFO_MASKABLE;
    }
    return { count: type.length, flags };
  }

  /**
   * @param fds - of the message; those that are taken are removed.
   * @throws VfioUserError
   */
  set(request: IrqSet, fds: number[]): void {
    const { index, start, count } = request;
    const type = this.#types[index];
    if (type === undefined) throw new VfioUserError('EINVAL', `SET_IRQS of interrupt type ${index}`);
    const data = request.flags & wire.VFIO_IRQ_SET_DATA_TYPE_MASK;
    const action = request.flags & wire.VFIO_IRQ_SET_ACTION_TYPE_MASK;
    const known = wire.VFIO_IRQ_SET_DATA_TYPE_MASK | wire.VFIO_IRQ_SET_ACTION_TYPE_MASK;
    if ((request.flags & ~known) !== 0 || !isOneBit(data) || !isOneBit(action)) {
      throw new VfioUserError('EINVAL', `SET_IRQS has flags 0x${request.flags.toString(16)}`);
    }
    if (start + count > type.length) {
      const text = `SET_IRQS of ${start} + ${count} where ${type.length} interrupts of type ${index} are`;
      throw new VfioUserError('EINVAL', text);
    }
    if (data === wire.VFIO_IRQ_SET_DATA_EVENTFD) {
      this.#bind(request, action, fds);
      return;
    }
    if (data === wire.VFIO_IRQ_SET_DATA_NONE && action === wire.VFIO_IRQ_SET_ACTION_TRIGGER && count === 0) {
      if (start !== 0) throw new VfioUserError('EINVAL', `SET_IRQS disables from ${start} on`);
      for (let i = 0; i < type.length; i++) this.#unbind(index, i);
      this.#note({ drop: [irqKey(index, '*')] });
      return;
    }
    for (let i = start; i < start + count; i++) {
      if (data === wire.VFIO_IRQ_SET_DATA_NONE || request.bools[i - start] !== 0) this.#act(index, i, action);
    }
  }

  /** The function sends this vector's message. */
  raise(vector: number): void {
    this.#types[wire.VFIO_PCI_MSIX_IRQ_INDEX]![vector]!.trigger?.signal();
  }

  /** The level of the function's INTx line. */
  intx(asserted: boolean): void {
    this.#line = asserted;
    this.#fire();
  }

  /** Lets go of every eventfd. */
  close(): void {
    this.#refireAlarm?.close();
    this.#refireAlarm = undefined;
    for (const [index, type] of this.#types.entries()) {
      for (let i = 0; i < type.length; i++) this.#unbind(index, i);
    }
  }

  #bind({ index, start, count }: IrqSet, action: number, fds: number[]): void {
    if (fds.length !== 0 && fds.length !== count) {
      throw new VfioUserError('EINVAL', `SET_IRQS of ${count} eventfds came with ${fds.length}`);
    }
    const slot =
      action === wire.VFIO_IRQ_SET_ACTION_TRIGGER
        ? 'trigger'
        : action === wire.VFIO_IRQ_SET_ACTION_MASK
          ? 'mask'
          : 'unmask';
    if (slot !== 'trigger' && index !== wire.VFIO_PCI_INTX_IRQ_INDEX) {
      throw new VfioUserError('ENOTSUP', `SET_IRQS: only INTx is masked by eventfds`);
    }
    const ports = fds.length === 0 ? undefined : this.#adopt(fds);
    if (ports !== undefined) this.#checkApart(this.#types[index]![start]!, slot, ports);
    for (let i = 0; i < count; i++) {
      const irq = this.#types[index]![start + i]!;
      irq[slot]?.close();
      const port = ports?.[i];
      irq[slot] = port;
      this.#noteSlot(index, start + i, slot, port);
      if (slot === 'trigger') this.#rebound(index, start + i);
      else port?.watch(() => this.#event(index, start + i, action));
    }
  }

  #noteSlot(index: number, i: number, slot: IrqSlot, port: EventPort | undefined): void {
    // An INTx that is bound anew is not masked.
    const stale = slot === 'trigger' && index === wire.VFIO_PCI_INTX_IRQ_INDEX ? ['masked' as const] : [];
    this.#note({
      drop: (port === undefined ? [slot, ...stale] : stale).map((each) => irqKey(index, i, each)),
      put:
        port === undefined ? [] : [{ key: irqKey(index, i, slot), bytes: new Uint8Array(), fds: [port.fd] }],
    });
  }

  /** Goes on with what a process before had. Items of others are left alone. */
  resume(kept: readonly KeptItem[]): void {
    for (const item of kept) {
      const irq = irqOf(item);
      if (irq !== undefined) this.#resume(irq.index, irq.i, irq.slot, item.fds[0]);
    }
    // Whether one fires is known when all are there.
    for (const item of kept) {
      const irq = irqOf(item);
      if (irq?.slot === 'masked') this.#act(irq.index, irq.i, wire.VFIO_IRQ_SET_ACTION_MASK);
    }
  }

  #resume(index: number, i: number, slot: IrqSlot, fd: number | undefined): void {
    const irq = this.#types[index]?.[i];
    if (fd === undefined || slot === 'masked') return;
    if (irq === undefined) {
      this.#os.closeFd(fd);
      return;
    }
    const port = this.#os.adoptEvent(fd);
    irq[slot] = port;
    if (slot === 'trigger') this.#rebound(index, i);
    else
      port.watch(() =>
        this.#event(
          index,
          i,
          slot === 'mask' ? wire.VFIO_IRQ_SET_ACTION_MASK : wire.VFIO_IRQ_SET_ACTION_UNMASK,
        ),
      );
  }

  /** Only INTx has masks, and of that there is one. */
  #checkApart(irq: Irq, slot: 'trigger' | 'mask' | 'unmask', ports: readonly EventPort[]): void {
    const others = slot === 'trigger' ? [irq.mask, irq.unmask] : [irq.trigger];
    if (!others.some((other) => other !== undefined && ports[0]?.isSame(other))) return;
    for (const port of ports) port.close();
    throw new VfioUserError('EINVAL', 'SET_IRQS: one eventfd to trigger INTx and to mask or unmask it');
  }

  /** An eventfd of the client's rang. */
  #event(index: number, i: number, action: number): void {
    if (action === wire.VFIO_IRQ_SET_ACTION_UNMASK && this.#line) {
      this.#refireAlarm ??= this.#clock.alarm(() => {
        const late = this.#refires > REFIRES_MOST;
        this.#refires = 0;
        if (late) this.#act(index, i, action);
      });
      if (this.#refires === 0) this.#refireAlarm.set(this.#clock.now() + REFIRE_PERIOD);
      this.#refires += 1;
      if (this.#refires > REFIRES_MOST) return;
    }
    this.#act(index, i, action);
  }

  /** All of the descriptors or none. */
  #adopt(fds: number[]): EventPort[] {
    const ports: EventPort[] = [];
    try {
      while (fds.length > 0) ports.push(this.#os.adoptEvent(fds.shift()!));
    } catch (error) {
      for (const port of ports) port.close();
      throw new VfioUserError('EINVAL', `SET_IRQS: ${(error as Error).message}`);
    }
    return ports;
  }

  #unbind(index: number, i: number): void {
    const irq = this.#types[index]![i]!;
    for (const slot of ['trigger', 'mask', 'unmask'] as const) {
      irq[slot]?.close();
      irq[slot] = undefined;
    }
    irq.masked = false;
    this.#rebound(index, i);
  }

  /** The trigger of an interrupt came, changed or went. */
  #rebound(index: number, i: number): void {
    const irq = this.#types[index]![i]!;
    if (index === wire.VFIO_PCI_MSIX_IRQ_INDEX) {
      this.#holdVector(i, irq.trigger === undefined || irq.masked);
    } else if (index === wire.VFIO_PCI_INTX_IRQ_INDEX) {
      irq.masked = false;
      this.#fire();
    }
  }

  #act(index: number, i: number, action: number): void {
    const irq = this.#types[index]![i]!;
    if (action === wire.VFIO_IRQ_SET_ACTION_TRIGGER) {
      irq.trigger?.signal();
      return;
    }
    irq.masked = action === wire.VFIO_IRQ_SET_ACTION_MASK;
    const key = irqKey(index, i, 'masked');
    this.#note(irq.masked ? { put: [{ key, bytes: new Uint8Array() }] } : { drop: [key] });
    if (index === wire.VFIO_PCI_MSIX_IRQ_INDEX) this.#holdVector(i, irq.trigger === undefined || irq.masked);
    else if (index === wire.VFIO_PCI_INTX_IRQ_INDEX) this.#fire();
  }

  /** INTx is a level, its eventfd is not: it fires once and is masked, until the client unmasks it and finds out anew. */
  #fire(): void {
    const irq = this.#types[wire.VFIO_PCI_INTX_IRQ_INDEX]![0]!;
    if (!this.#line || irq.masked || irq.trigger === undefined) return;
    irq.masked = true;
    irq.trigger.signal();
  }
}

function isOneBit(value: number): boolean {
  return value !== 0 && (value & (value - 1)) === 0;
}
