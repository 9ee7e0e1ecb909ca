import type { Keep, KeptItem, Notes } from '../../keep.js';
import { KeptDurable } from '../../kept-durable.js';
import { KeptInflight } from '../../kept-inflight.js';
import type { PciHost } from '../../pci/device/pci-host.js';
import type { VirtioPciFunction } from '../../pci/device/virtio-function.js';
import type { Os } from '../../ports.js';
import { decodeDmaMap } from '../codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import type { Dma } from './dma.js';
import type { Doorbells } from './doorbells.js';
import type { Irqs } from './irqs.js';
import type { Migration } from './migration.js';
import * as records from './records.js';
import { Settlement } from './settlement.js';

/** What a session is made of, as far as a process after this one has to have it. */
export interface KeptParts {
  readonly function: VirtioPciFunction;
  readonly migration: Migration;
  readonly dma: Dma;
  readonly irqs: Irqs;
  readonly doorbells: Doorbells;
  /** Whether something that was answered is not carried out to its end. */
  urgent(): boolean;
  /** Takes up what was negotiated. */
  negotiate(version: Message): void;
  serve(message: Message): void;
}

/** Where another process goes on with a session if this one dies: what it is told, and what it has to be told again. */
export class Keeping {
  readonly durable: KeptDurable;
  #parts!: KeptParts;
  readonly #os: Os;
  readonly #keep: Keep;
  readonly #settlement: Settlement;
  readonly #inflight: KeptInflight;
  /** A command is being obeyed, and what is to be kept of it. */
  #serving = false;
  readonly #notes: Notes[] = [];
  /** What is on record of the function, and of the migration. */
  #kept = { changes: -1, migration: false };
  /** A message is on record that was answered, and not carried out to its end. */
  #pending = false;

  constructor(os: Os, keep: Keep) {
    this.#os = os;
    this.#keep = keep;
    this.#settlement = new Settlement(keep);
    this.#inflight = new KeptInflight(os, keep, records.INFLIGHT_KEYS);
    this.durable = new KeptDurable(os, keep);
  }

  /** Before anything else is asked of it: some of these are made with what this has. */
  attach(parts: KeptParts): void {
    this.#parts = parts;
  }

  /** What the function asks of its host for this. */
  get hostPorts(): Partial<PciHost> {
    return {
      inflight: (queue, size, entries) => this.#inflight.placeOf(queue, size, entries),
      forget: (queue) => this.#inflight.forget(queue),
      changed: () => this.#settlement.note(records.together(this.#changes())),
    };
  }

  came(message: Message): void {
    this.#settlement.came(message);
  }

  /** A command is obeyed from now on, or was: it may be settled later. */
  set serving(serving: boolean) {
    this.#serving = serving;
  }

  /** A message of the client's that is no command was dealt with. */
  passed(message: Message): void {
    this.#settlement.done(message);
  }

  /**
   * A command was obeyed, or refused.
   *
   * @param told - an answer was sent.
   * @param obeyed - and was not refused.
   */
  settle(message: Message, told: boolean, obeyed: boolean): void {
    if (!this.#settlement.awaits(message)) {
      // The one that was pending when the process before died.
      this.workDone();
      return;
    }
    const all = [...this.#notes.splice(0), ...(obeyed ? [records.notesOf(message)] : [])];
    if (this.#parts.urgent()) {
      // It will have had its effect when that is done: until then it would have to be done again.
      all.push({ keep: records.PENDING });
      this.#pending = true;
    } else all.push(...this.#changes());
    const notes = records.together(all);
    const nothing = !told && notes.keep === undefined && notes.drop!.length + notes.put!.length === 0;
    this.#settlement.done(message, nothing ? undefined : notes);
  }

  /** Something that a process after this one has to have. */
  note(notes: Notes): void {
    if (this.#serving) this.#notes.push(notes);
    else this.#settlement.note(notes);
  }

  /** What was sent so far is sent by itself. */
  sendApart(): void {
    this.#keep.settle(0);
  }

  /** Something was done that messages led to: that may have been all. */
  workDone(): void {
    if (!this.#pending || this.#parts.urgent()) return;
    this.#pending = false;
    this.#settlement.note(records.together([{ drop: [records.PENDING] }, ...this.#changes()]));
  }

  /** There is time to tell of what led to nothing. */
  flush(): void {
    this.#settlement.flush();
  }

  /** Goes on where the session of another process was. @throws as what is told again does. */
  resume(): void {
    const { kept } = this.#keep;
    const { function: pci, migration, dma, irqs, doorbells } = this.#parts;
    const item = (key: string): KeptItem | undefined => kept.find((each) => each.key === key);
    this.#again(item(records.VERSION), (message) => this.#parts.negotiate(message));
    for (const map of kept.filter(records.isDmaMap))
      this.#again(map, ({ payload, fds }) => dma.map(decodeDmaMap(payload), fds));
    if (item(records.LOGGING) !== undefined) dma.resumeLogging();
    irqs.resume(kept);
    const bells = item(records.DOORBELLS);
    if (bells !== undefined) doorbells.resume(bells.fds);
    const state = item(records.FUNCTION);
    if (state !== undefined) pci.resume(state.bytes);
    const moving = item(records.MIGRATION);
    if (moving !== undefined) migration.resume(moving.bytes);
    // It was to stand still for somebody in the process before.
    else pci.proceed();
    this.#notes.length = 0;
    this.#kept = { changes: pci.changes, migration: moving !== undefined };
    const pending = item(records.PENDING);
    this.#pending = pending !== undefined;
    this.#again(pending, (message) => this.#parts.serve(message));
  }

  close(): void {
    this.#inflight.close();
    this.durable.close();
  }

  /** Tells a message again that was answered. */
  #again(from: KeptItem | undefined, act: (message: Message) => void): void {
    if (from === undefined) return;
    const message = records.messageOf(from);
    act({ ...message, flags: message.flags | wire.VFIO_USER_F_NO_REPLY });
    for (const fd of message.fds.splice(0)) this.#os.closeFd(fd);
  }

  /** What changed since it was on record. */
  #changes(): Notes[] {
    const { function: pci, migration } = this.#parts;
    const notes: Notes[] = this.#inflight.notes();
    if (pci.changes !== this.#kept.changes) {
      this.#kept.changes = pci.changes;
      notes.push({ put: [{ key: records.FUNCTION, bytes: pci.keep() }] });
    }
    const moving = migration.keep();
    if (moving !== undefined) notes.push({ put: [{ key: records.MIGRATION, bytes: moving }] });
    else if (this.#kept.migration) notes.push({ drop: [records.MIGRATION] });
    this.#kept.migration = moving !== undefined;
    return notes;
  }
}
