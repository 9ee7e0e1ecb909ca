import { type Signal, signal } from '@preact/signals';
import type { Frame, Hello } from '../../protocol.js';
import type { Model } from '../model/model.js';

/** How things are between this page and its server. */
export type Link =
  | { readonly state: 'connecting' | 'open' }
  /** It is tried again. `why` is for people. */
  | { readonly state: 'lost'; readonly why: string };

/** ms until a stream that was refused is tried again. */
const AGAIN = 2000;

/** ns, of this page's clock. */
export function pageNow(): number {
  return performance.now() * 1e6;
}

/** The stream of one source into the model, opened again whenever it is lost. */
export class Feed {
  readonly link: Signal<Link> = signal({ state: 'connecting' });
  readonly #model: Model;
  #stream: EventSource | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #source: string | undefined;
  #bye = '';

  constructor(model: Model) {
    this.#model = model;
  }

  /** @param source - the server's first unless told. */
  open(source?: string): void {
    this.close();
    this.#source = source;
    this.link.value = { state: 'connecting' };
    const query = source === undefined ? '' : `?source=${encodeURIComponent(source)}`;
    const stream = new EventSource(`api/events${query}`);
    this.#stream = stream;
    stream.addEventListener('hello', ({ data }) => {
      this.#bye = '';
      this.#model.begin(JSON.parse(data) as Hello, pageNow());
      this.link.value = { state: 'open' };
    });
    stream.addEventListener('frame', ({ data }) => this.#model.take(JSON.parse(data) as Frame, pageNow()));
    stream.addEventListener('bye', ({ data }) => {
      this.#bye = (JSON.parse(data) as { reason: string }).reason;
    });
    stream.addEventListener('error', () => this.#lost(stream));
  }

  close(): void {
    this.#stream?.close();
    this.#stream = undefined;
    clearTimeout(this.#again);
  }

  #lost(stream: EventSource): void {
    if (stream !== this.#stream) return;
    const why = this.#bye !== '' ? `The server ended: ${this.#bye}.` : 'The server does not answer.';
    this.link.value = { state: 'lost', why };
    if (stream.readyState !== EventSource.CLOSED) return;
    // Refused, which a stream does not explain: another request does.
    void this.#explain();
    this.#again = setTimeout(() => this.open(this.#source), AGAIN);
  }

  async #explain(): Promise<void> {
    try {
      const answer = await fetch('api/timeline');
      if (answer.ok) return;
      const { error } = (await answer.json()) as { error: string };
      if (this.link.value.state === 'lost') this.link.value = { state: 'lost', why: error };
    } catch {
      // Nobody is there: that was said.
    }
  }
}
