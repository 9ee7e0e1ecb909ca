import { resolve } from 'node:path';
import { encodeFrame, type Frame, FrameDecoder, type ReloadResult } from '../keeper/frames.js';
import { closeStranger } from '../linux/close-stranger.js';
import type { UnixChannel } from '../linux/unix-channel.js';
import { peerOf } from '../linux/unix-socket.js';
import { linuxOs } from '../linux-only.js';
import { interfaceDescription, sectionHeader } from '../record/pcapng.js';
import { describesConnection, renumber } from '../record/renumber.js';
import { openControls } from './control-places.js';
import type { FromDesk, FromDeskProcess, FromKeeperProcess, ToDesk } from './desk-frames.js';
import { DeskInspector, type LookedAt } from './desk-inspector.js';
import { listenFor } from './inspect-option.js';
import type { Logger } from './log.js';
import { Metrics, type Numbered } from './metrics.js';
import { RecordFile } from './record-file.js';
import { VERSION } from './version.js';

/** What the desk is for. */
export interface DeskOptions {
  readonly metrics?: number;
  readonly control?: readonly string[];
  readonly record?: string;
  readonly inspect?: number | true;
  readonly inspectHost?: string;
}

/** How long a device's processes may take to say what they counted, and what they have still to say when all ends, ms. */
const PATIENCE = 500;

/** Counts, records and is asked for the processes that serve a device, until the one that started this one lets it go. */
export async function runDesk(name: string, options: DeskOptions, log: Logger): Promise<void> {
  // They are for the parent, which says when it is over.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => {});
  const over = new Promise<void>((done) => process.once('disconnect', () => done()));
  const lines: string[] = [];
  const desk = await Desk.open(name, options, log, (line) => lines.push(line));
  process.on('message', ({ gone, reloaded }: FromKeeperProcess) => {
    if (gone !== undefined) desk.left(gone);
    if (reloaded !== undefined) desk.reloaded(reloaded);
  });
  process.send!({ lines } satisfies FromDeskProcess);
  await over;
  await desk.close();
}

/** One worker. */
interface Teller {
  readonly channel: UnixChannel;
  readonly pid: number;
  /** The number of its connection in the recording, from its first event on. */
  number: number | undefined;
  device: string;
  place: string;
  serving: boolean;
  readonly looked: LookedAt | undefined;
  /** It said what it counted. */
  counted?: () => void;
}

/** Counts, records and is asked for the processes that serve devices. */
export class Desk {
  readonly #metrics = new Metrics();
  readonly #tellers = new Set<Teller>();
  readonly #asked = new Map<number, { readonly from: Teller; readonly done: (answer: Answer) => void }>();
  #file: RecordFile | undefined;
  #inspector: DeskInspector | undefined;
  #numbers = 0;
  #ids = 0;
  /** Hear when one said what it counted, or went. */
  readonly #watchers = new Set<() => void>();
  /** Where others ask: the next one may want them at once. */
  readonly #places: (() => void)[] = [];
  readonly #ends: (() => void)[] = [];

  /**
   * @param name - at which these find it.
   * @param say - hears where its pages are.
   * @throws UsageError for what can't be had.
   */
  static async open(
    name: string,
    options: DeskOptions,
    log: Logger,
    say: (line: string) => void = (line) => log.info(line),
  ): Promise<Desk> {
    const desk = new Desk();
    const { metrics, control, record, inspect } = options;
    if (inspect !== undefined) {
      const inspector = await listenFor({ ...options, inspect }, (port, host) =>
        DeskInspector.listen('virtio-misc', port, host, log),
      );
      desk.#inspector = inspector;
      desk.#places.push(() => inspector.close());
    }
    if (record !== undefined) {
      desk.#file = new RecordFile(resolve(record), (line) => log.warn(line), Number.POSITIVE_INFINITY);
      desk.#file.write(sectionHeader(`virtio-misc ${VERSION}`));
    }
    const os = await linuxOs();
    const listener = os.listenAbstract(name);
    listener.accept({ accepted: (channel) => desk.#attend(channel), failed: () => {} });
    if (metrics !== undefined) {
      const page = await desk.#metrics.listen(metrics, () => desk.#count());
      say(`metrics at http://127.0.0.1:${page.port}/metrics`);
      desk.#places.push(() => page.close());
    }
    if (desk.#inspector !== undefined) say(`inspector at ${desk.#inspector.url}`);
    const controls = await openControls(control, { ask: (words) => desk.#ask(words) });
    desk.#places.push(() => controls.close());
    desk.#ends.push(
      () => listener.close(),
      () => os.close(),
    );
    return desk;
  }

  /** When all of the workers said what they have to say. */
  async close(): Promise<void> {
    for (const end of this.#places) end();
    await this.#until(() => this.#tellers.size === 0);
    for (const end of this.#ends) end();
    this.#file?.close();
  }

  /** A front-end left. */
  left(connection: Numbered): void {
    this.#metrics.gone(connection);
    this.#inspector?.left(connection);
  }

  /** The file of a device was saved. */
  reloaded(result: ReloadResult): void {
    this.#metrics.reloaded(result);
  }

  #attend(channel: UnixChannel): void {
    const { uid, pid } = peerOf(channel.fd);
    if (uid !== process.getuid!()) {
      channel.close();
      return;
    }
    const looked = this.#inspector?.attend(pid, (to) => say(teller, { say: 'lookout', to }));
    const teller: Teller = {
      channel,
      pid,
      number: undefined,
      device: '?',
      place: '',
      serving: false,
      looked,
    };
    this.#tellers.add(teller);
    const decoder = new FrameDecoder<ToDesk>();
    channel.receive({
      received: (bytes, fds) => {
        for (const frame of decoder.push(bytes, fds)) this.#take(teller, frame);
      },
      closed: () => this.#ended(teller),
    });
  }

  #ended(teller: Teller): void {
    this.#tellers.delete(teller);
    this.#metrics.ended(teller);
    teller.looked?.ended();
    for (const [id, { from, done }] of this.#asked) {
      if (from !== teller) continue;
      this.#asked.delete(id);
      done({ refused: 'the process that served the device died meanwhile: ask again' });
    }
    this.#changed();
  }

  #take(teller: Teller, { body, bytes, fds }: Frame<ToDesk>): void {
    for (const fd of fds) closeStranger(fd);
    switch (body.say) {
      case 'serving':
        teller.serving = true;
        teller.device = body.device;
        teller.place = `${body.connection.transport} at ${body.connection.socket}`;
        this.#metrics.came(body.device, body.connection);
        return;
      case 'left':
        teller.serving = false;
        return;
      case 'counted':
        this.#metrics.take(teller, body.counted);
        teller.counted?.();
        return;
      case 'recorded':
        this.#record(teller, bytes);
        return;
      case 'lookout':
        teller.looked?.hear(body.from, bytes);
        return;
      case 'answer': {
        const asked = this.#asked.get(body.id);
        this.#asked.delete(body.id);
        asked?.done(body);
        return;
      }
    }
  }

  #record(teller: Teller, blocks: Uint8Array): void {
    if (teller.number === undefined) {
      // Connections have their numbers in the order in which they are described.
      if (!describesConnection(blocks)) {
        say(teller, { say: 'written', size: blocks.length });
        return;
      }
      this.#numbers += 1;
      teller.number = this.#numbers;
    }
    const { number, device, place } = teller;
    const all = renumber(blocks, number, interfaceDescription(`${device} ${number}`, place));
    const written = (): void => say(teller, { say: 'written', size: blocks.length });
    // When the disk is full they hear no more of it, and count from some point on what is lost.
    this.#file?.write(all, written);
  }

  /** Has all of them say what they counted. */
  async #count(): Promise<void> {
    const left = new Set(this.#tellers);
    for (const teller of left) {
      teller.counted = () => {
        left.delete(teller);
        this.#changed();
      };
      say(teller, { say: 'count' });
    }
    await this.#until(() => left.size === 0 || [...left].every((teller) => !this.#tellers.has(teller)));
  }

  async #ask(words: readonly string[]): Promise<string> {
    const all = [...this.#tellers].filter(({ serving }) => serving);
    if (all.length === 0) throw new Error('no front-end has the device yet');
    const list = words.length === 0 || words[0] === 'help';
    // Those of one device have the same to say.
    const asked = list
      ? all.filter(({ device }, index) => all.findIndex((other) => other.device === device) === index)
      : all;
    const answers = await Promise.all(asked.map((teller) => this.#askOne(teller, words)));
    let said = answers.flatMap((answer, index) =>
      answer.said === undefined ? [] : [{ device: asked[index]!.device, text: answer.said }],
    );
    if (said.length === 0) {
      const refused = answers.find(({ unknown }) => unknown !== true) ?? answers[0]!;
      if (refused.unknown !== true || words.join() !== 'process') throw new Error(refused.refused);
      said = asked.map(({ device, pid }) => ({ device, text: `${pid}` }));
    }
    const named = said.length > 1 && !list;
    return said
      .map(({ device, text }) => (named ? `${device}: ${text}` : text))
      .concat(list ? [PROCESS] : [])
      .filter((line) => line !== '')
      .join('\n');
  }

  #askOne(from: Teller, words: readonly string[]): Promise<Answer> {
    return new Promise((done) => {
      const id = this.#ids++;
      this.#asked.set(id, { from, done });
      say(from, { say: 'ask', id, words });
    });
  }

  /** Waits, but not for ever. */
  #until(happened: () => boolean): Promise<void> {
    return new Promise((done) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        done();
      };
      const look = (): void => {
        if (happened()) end();
      };
      const timer = setTimeout(end, PATIENCE);
      this.#watchers.add(look);
      look();
    });
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }
}

interface Answer {
  readonly said?: string;
  readonly refused?: string;
  readonly unknown?: boolean;
}

/** Beside what the devices can be asked. */
const PROCESS = 'process  the number of the process that runs the device now; another goes on when it dies';

function say(to: Teller, body: FromDesk): void {
  to.channel.send(encodeFrame(body));
}
