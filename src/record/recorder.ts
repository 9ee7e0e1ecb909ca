import type { InspectEvent } from '../observe/event.js';
import type { Listener } from '../observe/observer.js';
import { ByteWriter } from '../virtio/byte-codec.js';
import { missingOf, writePacket } from './packet.js';
import {
  interfaceDescription,
  PACKET_AT,
  packetBlockSize,
  sectionHeader,
  writePacketFrame,
} from './pcapng.js';

/** Where a recording goes. */
export interface RecordingSink {
  /** Bytes that are this one's from now on: whole blocks. @returns `false` when there is no room, and they are lost. */
  write(blocks: Uint8Array): boolean;
}

/** Bytes that are handed over together, at least. */
const CHUNK = 256 * 1024;

/** Makes a recording of what is heard of one server or several. */
export class Recorder {
  readonly #sink: RecordingSink;
  readonly #epoch: () => number;
  readonly #chunk = new ByteWriter();
  /** Events in this chunk. */
  #events = 0;
  /** Events that were lost, in all, and that the file does not say yet. */
  #dropped = 0;
  #untold = 0;
  /** Those that this chunk tells of. */
  #told = 0;
  #connections = 0;
  /** Interfaces that were not handed over yet: they must not be lost with their chunk. */
  #headers: Uint8Array[];

  /**
   * @param program - who writes it, with its version.
   * @param epoch - ms since 1970, with fractions.
   */
  constructor(sink: RecordingSink, program: string, epoch: () => number) {
    this.#sink = sink;
    this.#epoch = epoch;
    this.#headers = [sectionHeader(program)];
  }

  /** Events that found no room. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Who listens to one server. @param bytes - to keep of each chain, each way. */
  listener(bytes: number): Listener {
    const connections = new Map<number, number>();
    let clock: { high: number; low: number } | undefined;
    return {
      bytes,
      hear: (event) => {
        clock ??= anchor(this.#epoch(), event.time);
        let number = connections.get(event.connection);
        if (number === undefined || event.type === 'connected') {
          number = ++this.#connections;
          connections.set(event.connection, number);
          this.#open(event, number);
        }
        if (this.#untold > 0 && this.#chunk.length === 0) {
          this.#told = this.#untold;
          this.#untold = 0;
          const { time, connection } = event;
          this.#add({ type: 'dropped', time, connection, count: this.#told }, number, clock);
          this.#events = 0;
        }
        this.#add(event, number, clock);
        if (event.type === 'gone') connections.delete(event.connection);
      },
    };
  }

  /** Hands over what is there. */
  flush(): void {
    if (this.#chunk.length === 0 && this.#headers.length === 0) return;
    const blocks = this.#headers.length === 0 ? this.#chunk.slice() : this.#withHeaders();
    if (this.#sink.write(blocks)) this.#headers = [];
    else {
      this.#dropped += this.#events;
      this.#untold += this.#events + this.#told;
    }
    this.#told = 0;
    this.#chunk.clear();
    this.#events = 0;
  }

  #withHeaders(): Uint8Array {
    const pieces = [...this.#headers, this.#chunk.slice()];
    const blocks = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of pieces) {
      blocks.set(piece, at);
      at += piece.length;
    }
    return blocks;
  }

  #open(event: InspectEvent, number: number): void {
    // Interfaces come before the packets that name them, and packets of older ones may be in this chunk.
    this.flush();
    const [name, place] =
      event.type === 'connected' ? [event.device.name, `${event.transport} at ${event.socket}`] : ['?', ''];
    this.#headers.push(interfaceDescription(`${name} ${number}`, place));
  }

  #add(event: InspectEvent, number: number, clock: { high: number; low: number }): void {
    const out = this.#chunk;
    const at = out.leave(PACKET_AT);
    writePacket(out, event, number);
    const length = out.length - at - PACKET_AT;
    out.leave(packetBlockSize(length) - PACKET_AT - length);
    const low = clock.low + event.time;
    const high = clock.high + Math.floor(low / 0x1_0000_0000);
    writePacketFrame(out.view, at, number - 1, high, low >>> 0, length, missingOf(event));
    this.#events += 1;
    if (out.length >= CHUNK) this.flush();
  }
}

/** The time since 1970 of a clock's start, ns, as two halves of 32 bits. */
function anchor(ms: number, now: number): { high: number; low: number } {
  const start = BigInt(Math.round(ms * 1e3)) * 1000n - BigInt(Math.round(now));
  return { high: Number(start >> 32n), low: Number(start & 0xffff_ffffn) };
}
