import type { ServerResponse } from 'node:http';
import type { SourceView } from '../source-view.js';

/** Bytes that may wait for a page; it misses frames while there are more. */
const ROOM = 1 << 20;
/** How long a page may read nothing, ms. */
const STUCK = 60_000;
/** Without news, ms. */
const QUIET = 1000;

/** The parts of a frame that are the same for all pages of a source: members of its JSON object, or nothing. */
export interface News {
  readonly time: number;
  readonly members: string;
  /** The same for a page that missed some: all there is but what is long gone by. @param since - points from then on. */
  whole(since: number): string;
}

/** One open page: it gets frames as fast as it reads them. */
export class Page {
  readonly client: number;
  readonly view: SourceView;
  readonly #response: ServerResponse;
  /** Rings that it wants to see, with what it saw last. */
  #rings: readonly { readonly connection: number; readonly queue: number }[] | undefined;
  readonly #pulses = new Map<string, number>();
  #number = 0;
  #missed = 0;
  /** It missed the last one. */
  #behind = false;
  #caughtUp = 0;
  #last = 0;

  constructor(client: number, view: SourceView, response: ServerResponse) {
    this.client = client;
    this.view = view;
    this.#response = response;
  }

  /** @param hello - JSON. */
  begin(hello: string): void {
    this.#caughtUp = this.view.now;
    this.#write('hello', hello);
  }

  set rings(rings: readonly { readonly connection: number; readonly queue: number }[]) {
    this.#rings = rings;
    this.#pulses.clear();
  }

  /** The rings that it is to see. */
  get rings(): readonly { readonly connection: number; readonly queue: number }[] {
    return this.#rings ?? this.#first();
  }

  /** @returns whether it is still read. @param now - ms. */
  send(news: News, now: number): boolean {
    if (this.#response.writableLength > ROOM) {
      // What there is nothing of is not missed.
      if (news.members !== '') {
        this.#number += 1;
        this.#missed += 1;
        this.#behind = true;
      }
      return now - this.#last < STUCK;
    }
    const members = this.#behind ? news.whole(this.#caughtUp) : news.members;
    const rings = this.#samples();
    if (members === '' && rings === '' && now - this.#last < QUIET) return true;
    this.#number += 1;
    this.#behind = false;
    this.#caughtUp = news.time;
    this.#last = now;
    const head = `"time":${news.time},"number":${this.#number},"missed":${this.#missed}`;
    this.#write('frame', `{${[head, members, rings].filter((part) => part !== '').join(',')}}`);
    return true;
  }

  end(reason: string): void {
    this.#write('bye', JSON.stringify({ reason }));
    this.#response.end();
  }

  drop(): void {
    this.#response.destroy();
  }

  /** Rings as they are now, of those that may have changed. */
  #samples(): string {
    const samples: string[] = [];
    for (const { connection, queue } of this.rings) {
      const key = `${connection}:${queue}`;
      const pulse = this.view.pulse(connection, queue);
      if (this.#pulses.get(key) === pulse) continue;
      this.#pulses.set(key, pulse);
      const sample = this.view.ring(connection, queue);
      if (sample !== undefined) samples.push(JSON.stringify(sample));
    }
    return samples.length === 0 ? '' : `"rings":[${samples.join(',')}]`;
  }

  /** Unless told: the first two of the first connection that is there. */
  #first(): { connection: number; queue: number }[] {
    for (const { connection, gone, queues } of this.view.model.connections)
      if (!gone) return queues.slice(0, 2).map(({ queue }) => ({ connection, queue }));
    return [];
  }

  #write(event: string, data: string): void {
    this.#response.write(`event: ${event}\ndata: ${data}\n\n`);
  }
}
