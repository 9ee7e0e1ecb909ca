import { printable } from '../lines/printable.js';
import type { InspectEvent, SeenDevice, TakenEvent, UsedEvent } from '../observe/event.js';
import { describeBytes } from '../virtio/describe-bytes.js';
import { featureBits } from '../virtio/features.js';
import { chainsOf, type RecordedConnection, ReplayError } from './connection-events.js';
import { hex } from './event-json.js';

/** How a test makes the device: what it imports, and the expression. */
export interface TestDevice {
  readonly importLine: string;
  readonly make: string;
}

/** Bytes of a bench's memory that chains of a queue may take at a time. */
const BENCH = 512 * 1024;
/** Characters of a comment. */
const COMMENT = 160;

/**
 * The recorded traffic as a test for `node:test`, with `DeviceBench`.
 *
 * @param recorded - each connection becomes a test.
 * @throws ReplayError for a recording that a bench has no room for, or that has not all bytes.
 */
export function testOf(recorded: readonly RecordedConnection[], device: TestDevice, source: string): string {
  const tests = recorded.map((connection) => new TestWriter(connection, device.make).text());
  return `// Made of ${printable(source)} by 'virtio-misc replay --as-test'.

import assert from 'node:assert/strict';
import { test } from 'node:test';
${device.importLine}

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (bytes) => Buffer.from(bytes).toString('hex');

${tests.join('\n')}`;
}

/** Writes one connection, step by step. */
class TestWriter {
  readonly #recorded: RecordedConnection;
  readonly #device: SeenDevice;
  readonly #make: string;
  readonly #lines: string[] = [];
  readonly #chains: ReadonlyMap<InspectEvent, readonly TakenEvent[]>;
  /** By queue: the chains of its ring, how many were sent, and the bytes of those that are out. */
  readonly #queues = new Map<number, { chains: readonly TakenEvent[]; sent: number; out: number }>();
  readonly #answered: ReadonlySet<TakenEvent>;
  /** What the device filled since the driver did something last, by queue. */
  readonly #filled = new Map<string, { hex: string; said: string }[]>();
  readonly #timed: boolean;
  #time = 0;
  #features: readonly number[] = [];
  #on = false;
  #made = false;
  #starts = 0;
  #config = '';

  constructor(recorded: RecordedConnection, make: string) {
    this.#recorded = recorded;
    this.#device = recorded.connected.device;
    this.#make = make;
    this.#chains = chainsOf(recorded.events);
    this.#answered = answeredOf(recorded.events);
    // What a device does by itself it may do whenever it looks at the clock, not only when an alarm rings.
    const filled = [...this.#answered].some(({ readable }) => readable === 0);
    this.#timed = filled || recorded.events.some(({ type }) => type === 'rang');
  }

  text(): string {
    for (const event of this.#recorded.events) this.#step(event);
    this.#check();
    const name = `${this.#device.name} answers as recorded, connection ${this.#recorded.number}`;
    if (!this.#made) this.#lines.push(`new DeviceBench(${this.#make});`);
    const body = this.#lines.map((line) => `  ${line}\n`).join('');
    return `test(${JSON.stringify(printable(name))}, async () => {\n${body}});\n`;
  }

  #step(event: InspectEvent): void {
    switch (event.type) {
      case 'features': {
        const own = event.accepted & this.#device.features;
        this.#features = featureBits(own);
        return;
      }
      case 'queue-started':
        this.#queues.set(event.queue, { chains: this.#chains.get(event)!, sent: 0, out: 0 });
        return;
      case 'running':
        this.#run(event.time);
        return;
      case 'reset':
        this.#reset();
        return;
      case 'rang':
        this.#advance(event.time);
        return;
      case 'config-read':
        this.#readConfig(event.offset, event.bytes);
        return;
      case 'config-written':
        if (!this.#on) return;
        this.#act(event.time);
        this.#lines.push(`bench.writeConfig(${event.offset}, bytes('${hex(event.bytes)}'));`);
        this.#config = '';
        return;
      case 'config-changed':
        this.#config = '';
        return;
      case 'available':
        this.#post(event.queue, event.count, event.time);
        return;
      case 'taken':
        this.#take(event);
        return;
      case 'used':
        this.#used(event);
        return;
      case 'broken':
        if (event.queue !== undefined)
          throw new ReplayError(`the driver broke a rule (${event.error}): a bench's drivers are polite`);
        return;
      case 'dropped':
        throw new ReplayError(
          `${event.count} events are missing in the recording: no test can be made of it`,
        );
    }
  }

  #run(time: number): void {
    if (this.#on) return;
    this.#on = true;
    const features = `[${this.#features.join(', ')}]`;
    if (!this.#made)
      this.#lines.push(`const bench = new DeviceBench(${this.#make}, { features: ${features} });`);
    else this.#lines.push(`bench.start(${features});`);
    this.#made = true;
    this.#starts += 1;
    this.#time = time;
    this.#config = '';
  }

  #reset(): void {
    this.#check();
    if (this.#on) this.#lines.push('bench.reset();');
    this.#on = false;
    this.#queues.clear();
  }

  /** The driver does something now. */
  #act(time: number): void {
    this.#check();
    if (this.#timed) this.#advance(time);
  }

  #advance(time: number): void {
    if (!this.#on) return;
    const passed = Math.floor(time) - this.#time;
    if (passed <= 0) return;
    this.#check();
    this.#lines.push(`bench.advance(${passed});`);
    this.#time += passed;
  }

  #readConfig(offset: number, bytes: Uint8Array): void {
    if (!this.#on || bytes.length === 0) return;
    const line = `assert.equal(hex(bench.readConfig().subarray(${offset}, ${offset + bytes.length})), '${hex(bytes)}');`;
    if (this.#config.includes(line)) return;
    this.#check();
    this.#config += line;
    this.#lines.push(line);
  }

  /** Buffers that were made available before the device took them, as far as there is room. */
  #post(queue: number, count: number, time: number): void {
    const state = this.#queues.get(queue);
    if (state === undefined || !this.#on) return;
    let posted = 0;
    let room = 0;
    for (; posted < count; posted++) {
      const chain = state.chains[state.sent + posted];
      if (chain === undefined || chain.readable > 0 || state.out + chain.writable > BENCH) break;
      if (posted > 0 && chain.writable !== room) break;
      room = chain.writable;
      state.out += chain.writable;
    }
    if (posted === 0) return;
    state.sent += posted;
    this.#act(time);
    const name = JSON.stringify(this.#device.queues[queue]!.name);
    this.#lines.push(`bench.post(${name}, ${Math.max(1, room)}${posted > 1 ? `, ${posted}` : ''});`);
  }

  #take(taken: TakenEvent): void {
    const state = this.#queues.get(taken.queue);
    if (state === undefined || taken.chain <= state.sent) return;
    const { name, bytes, readable, writable, queue, chain } = taken;
    if (bytes.length < readable)
      throw new ReplayError(
        `of chain ${chain} of ${name} ${bytes.length} of ${readable} bytes were recorded: record with a larger --record-bytes`,
      );
    if (readable + writable > BENCH)
      throw new ReplayError(
        `chain ${chain} of ${name} has ${readable + writable} bytes, and a bench room for ${BENCH}`,
      );
    if (readable === 0) {
      this.#post(queue, 1, taken.time);
      return;
    }
    this.#act(taken.time);
    state.sent += 1;
    const shape = this.#device.queues[queue]?.shape;
    const said = comment(describeBytes(bytes, readable, shape?.request));
    const request = `bench.request(${JSON.stringify(name)}, bytes('${hex(bytes)}'), ${writable})`;
    const line = this.#answered.has(taken)
      ? `const ${this.#answer(taken)} = ${request};`
      : `${request}.catch(() => {});`;
    this.#lines.push(`${line}${said}`);
  }

  #used(used: UsedEvent): void {
    const state = this.#queues.get(used.queue);
    const taken = state?.chains[used.chain - 1];
    if (state === undefined || taken === undefined) return;
    if (used.bytes.length < used.written)
      throw new ReplayError(
        `of the answer to chain ${used.chain} of ${used.name} ${used.bytes.length} of ${used.written} bytes were recorded: record with a larger --record-bytes`,
      );
    const shape = this.#device.queues[used.queue]?.shape;
    const said = describeBytes(used.bytes, used.written, shape?.response);
    if (taken.readable > 0) {
      this.#lines.push(
        `assert.equal(hex(await ${this.#answer(taken)}), '${hex(used.bytes)}');${comment(said)}`,
      );
      return;
    }
    state.out -= taken.writable;
    if (!this.#filled.has(used.name)) this.#advance(used.time);
    const filled = this.#filled.get(used.name) ?? [];
    filled.push({ hex: hex(used.bytes), said });
    this.#filled.set(used.name, filled);
  }

  /** What the device filled by itself. */
  #check(): void {
    for (const [name, filled] of this.#filled) {
      const list = filled.map((one) => `'${one.hex}'`).join(', ');
      const said = comment(filled.map((one) => one.said).join(' | '));
      this.#lines.push(
        `assert.deepEqual(bench.received(${JSON.stringify(name)}).map(hex), [${list}]);${said}`,
      );
    }
    this.#filled.clear();
  }

  /** What an answer is called in the test. */
  #answer({ queue, chain }: TakenEvent): string {
    const again = this.#starts > 1 ? `_${this.#starts}` : '';
    const name = this.#device.queues[queue]!.name.replace(/[^A-Za-z0-9_$]/g, '_');
    return `${/^\d/.test(name) ? '_' : ''}${name}${chain}${again}`;
  }
}

function comment(text: string): string {
  if (text === '') return '';
  return ` // ${printable(text.length > COMMENT ? `${text.slice(0, COMMENT)}...` : text)}`;
}

/** The chains that were handed back. */
function answeredOf(events: readonly InspectEvent[]): Set<TakenEvent> {
  const out = new Map<number, Map<number, TakenEvent>>();
  const answered = new Set<TakenEvent>();
  for (const event of events) {
    if (event.type === 'queue-started') out.set(event.queue, new Map());
    else if (event.type === 'reset') out.clear();
    else if (event.type === 'taken') out.get(event.queue)?.set(event.chain, event);
    else if (event.type === 'used') {
      const taken = out.get(event.queue)?.get(event.chain);
      if (taken !== undefined) answered.add(taken);
    }
  }
  return answered;
}
