import { get, type IncomingMessage, request } from 'node:http';
import type { Command, Frame, Hello, TimelineItem } from '../protocol.js';

/** What a request was answered with. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered.
  readonly json: any;
}

/** Asks as a browser would. */
export function ask(
  url: string,
  {
    method = 'GET',
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: string | Uint8Array } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => {
        let json: unknown;
        try {
          json = JSON.parse(text);
        } catch {
          json = undefined;
        }
        resolve({ status: response.statusCode!, headers: response.headers, text, json });
      });
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** A page without a browser: it keeps what it was told, as the real one does. */
export class PageReader {
  readonly base: string;
  readonly cookie: string;
  hello!: Hello;
  readonly frames: Frame[] = [];
  /** By id. */
  readonly items: Map<number, TimelineItem> = new Map();
  state: Partial<Frame> = {};
  bye: string | undefined;
  #response: IncomingMessage | undefined;
  #wakes: (() => void)[] = [];

  private constructor(base: string, cookie: string) {
    this.base = base;
    this.cookie = cookie;
  }

  /** Takes the printed address. */
  static async come(url: string): Promise<PageReader> {
    const answer = await ask(url);
    const cookie = answer.headers['set-cookie']?.[0]?.split(';')[0];
    if (answer.status !== 303 || cookie === undefined) throw new Error(`${answer.status}: ${answer.text}`);
    return new PageReader(new URL(url).origin, cookie);
  }

  /** Reads events from now on; again after `close`, as from the beginning. */
  async open(query = ''): Promise<this> {
    this.hello = undefined as unknown as Hello;
    this.state = {};
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get(`${this.base}/api/events${query}`, { headers: { cookie: this.cookie }, agent: false }, resolve).on(
        'error',
        reject,
      );
    });
    if (response.statusCode !== 200) throw new Error(`${response.statusCode}`);
    this.#response = response;
    let text = '';
    response.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const [, event, data] = /^event: (\w+)\ndata: (.*)$/s.exec(text.slice(0, end))!;
        text = text.slice(end + 2);
        this.#hear(event!, JSON.parse(data!));
      }
    });
    response.on('error', () => {});
    await this.until(() => this.hello !== undefined);
    return this;
  }

  close(): void {
    this.#response?.destroy();
  }

  /** Waits until that is so. */
  async until<T>(what: () => T | undefined | false): Promise<T> {
    for (;;) {
      const found = what();
      if (found !== undefined && found !== false) return found;
      await new Promise<void>((resolve) => this.#wakes.push(resolve));
    }
  }

  ask(
    path: string,
    more: { method?: string; headers?: Record<string, string>; body?: string | Uint8Array } = {},
  ): Promise<Answer> {
    return ask(`${this.base}${path}`, { ...more, headers: { cookie: this.cookie, ...more.headers } });
  }

  command(command: Command): Promise<Answer> {
    const headers = { 'content-type': 'application/json' };
    return this.ask('/api/command', { method: 'POST', headers, body: JSON.stringify(command) });
  }

  #hear(event: string, data: unknown): void {
    if (event === 'bye') this.bye = (data as { reason: string }).reason;
    const frame = event === 'hello' ? (data as Hello).state : event === 'frame' ? (data as Frame) : undefined;
    if (event === 'hello') this.hello = data as Hello;
    if (frame !== undefined) {
      this.frames.push(frame);
      for (const item of frame.items ?? []) this.items.set(item.id, item);
      const { connections, queues, rings, holds, breakpoints } = frame;
      const of = { connections, queues, rings, holds, breakpoints };
      for (const [key, value] of Object.entries(of))
        if (value !== undefined) this.state = { ...this.state, [key]: value };
    }
    for (const wake of this.#wakes.splice(0)) wake();
  }
}
