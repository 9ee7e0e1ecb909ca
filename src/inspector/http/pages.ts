import type { ServerResponse } from 'node:http';
import type { Live } from '../live.js';
import type { Look } from '../lookout/eyes.js';
import type { Hello, Source } from '../protocol.js';
import type { SourceView } from '../source-view.js';
import { type News, Page } from './page.js';

/** Pages at a time. */
export const PAGES = 8;
/** ms between two frames; where more passes than can be told of; and between two looks while nobody is there, for the plots of who comes next. */
const FRAME = 50;
const BUSY = 100;
const ALONE = 250;
/** A look takes no more than one part in so many of the time: where one took long, the next comes later. */
const SHARE = 40;
/** How long a held guest waits for a page that went to come back, ms. */
export const GRACE = 10_000;

/** All that pages know of a title and of other sources. */
export interface About {
  readonly title: string;
  readonly sources: readonly Source[];
}

/** The pages that are open, and the pace at which they hear. */
export class Pages {
  readonly #live: Live | undefined;
  readonly #graceTime: number;
  readonly #open = new Map<number, Page>();
  #clients = 0;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #grace: NodeJS.Timeout | undefined;
  /** By source: what was said last of what is held, and of breakpoints. */
  readonly #said = new Map<SourceView, { holds: string; breakpoints: string }>();

  constructor(live: Live | undefined, grace: number) {
    this.#live = live;
    this.#graceTime = grace;
    if (live !== undefined) live.asleep = true;
    this.#pace();
  }

  /** Whether somebody looks, or did a moment ago. */
  get awake(): boolean {
    return this.#open.size > 0 || this.#grace !== undefined;
  }

  get full(): boolean {
    return this.#open.size >= PAGES;
  }

  /** A page begins to read. */
  open(view: SourceView, about: About, response: ServerResponse): void {
    clearTimeout(this.#grace);
    this.#grace = undefined;
    if (this.#live !== undefined) this.#live.asleep = false;
    // What others hear of now is in what this one begins with.
    this.#tick();
    const client = ++this.#clients;
    const page = new Page(client, view, response);
    this.#open.set(client, page);
    response.on('close', () => this.#left(client));
    response.on('error', () => this.#left(client));
    this.#live?.tick(this.#wanted);
    page.begin(JSON.stringify(this.#hello(client, view, about)));
    this.#pace();
  }

  page(client: number): Page | undefined {
    return this.#open.get(client);
  }

  close(reason: string): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#grace);
    for (const page of this.#open.values()) page.end(reason);
    this.#open.clear();
  }

  #hello(client: number, view: SourceView, { title, sources }: About): Hello {
    const { source, now: time, start, epoch, model } = view;
    const holds = { holds: view.holds(), breakpoints: view.breakpoints() };
    const whole = model.whole(Number.NEGATIVE_INFINITY, true);
    const state = { time, number: 0, missed: 0, ...whole, ...holds };
    return { version: 1, client, source: source.id, sources, title, time, start, epoch, state };
  }

  #left(client: number): void {
    if (!this.#open.delete(client) || this.#open.size > 0) return;
    this.#grace = setTimeout(() => {
      this.#grace = undefined;
      if (this.#live !== undefined) this.#live.asleep = true;
    }, this.#graceTime);
    this.#grace.unref();
    this.#pace();
  }

  #pace(): void {
    this.#next(0);
  }

  /** @param took - the last look, ms. */
  #next(took: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const pace = this.#open.size === 0 ? ALONE : this.#live?.busy === true ? BUSY : FRAME;
    const wait = Math.max(pace, SHARE * took);
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.#tick();
      this.#next(performance.now() - began);
    }, wait);
    this.#timer.unref();
  }

  #tick(): void {
    this.#live?.tick(this.#wanted);
    const views = new Set([...this.#open.values()].map(({ view }) => view));
    if (this.#live !== undefined && !views.has(this.#live)) this.#live.model.discard();
    const now = performance.now();
    for (const view of views) {
      const news = this.#news(view);
      for (const page of this.#open.values()) {
        if (page.view === view && !page.send(news, now)) page.drop();
      }
    }
  }

  /** What pages see of what is served. */
  get #wanted(): Look {
    const rings = new Map<string, Look['rings'][number]>();
    for (const page of this.#open.values())
      if (page.view === this.#live)
        for (const ring of page.rings) rings.set(`${ring.connection}/${ring.queue}`, ring);
    return { looked: this.#open.size > 0, rings: [...rings.values()] };
  }

  /** What changed, as JSON once for all pages. */
  #news(view: SourceView): News {
    const holds = JSON.stringify(view.holds());
    const breakpoints = JSON.stringify(view.breakpoints());
    const said = this.#said.get(view) ?? { holds: '[]', breakpoints: '[]' };
    this.#said.set(view, { holds, breakpoints });
    const whole = (since: number): string =>
      `${membersOf(view.model.whole(since, false))},"holds":${holds},"breakpoints":${breakpoints}`;
    const parts = [
      membersOf(view.model.take()),
      holds === said.holds ? '' : `"holds":${holds}`,
      breakpoints === said.breakpoints ? '' : `"breakpoints":${breakpoints}`,
    ];
    return { time: view.now, members: parts.filter((part) => part !== '').join(','), whole };
  }
}

/** The members of an object as JSON, without its brackets. */
function membersOf(value: object): string {
  return JSON.stringify(value).slice(1, -1);
}
