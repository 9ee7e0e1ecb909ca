import ora, { type Ora } from 'ora';

/** Hears of the long steps. Everything goes to the standard error: the standard output is the guest's. */
export interface Progress {
  /** Does `work` as one step. Steps may overlap, and fail by throwing. A long one may say how far it is. */
  step<T>(what: string, work: (say: Say) => Promise<T>): Promise<T>;
}

/** Tells how far a step is, in a few words. */
export type Say = (howFar: string) => void;

/** A progress that keeps quiet. */
export const silent: Progress = { step: (_what, work) => work(() => {}) };

/**
 * A live line on a terminal, plain lines elsewhere.
 *
 * @param plain - plain lines on a terminal too, for when something else writes to it meanwhile.
 */
export function progressTo(
  stream: NodeJS.WriteStream,
  { plain = false }: { plain?: boolean } = {},
): Progress {
  return stream.isTTY && !plain ? new LiveProgress(stream) : new PlainProgress(stream);
}

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

class PlainProgress implements Progress {
  readonly #stream: NodeJS.WritableStream;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
  }

  async step<T>(what: string, work: (say: Say) => Promise<T>): Promise<T> {
    const began = performance.now();
    this.#stream.write(`${what} ...\n`);
    const result = await work((howFar) => this.#stream.write(`${what}: ${howFar}\n`));
    this.#stream.write(`${what}: done in ${seconds(began)}\n`);
    return result;
  }
}

class LiveProgress implements Progress {
  readonly #spinner: Ora;
  readonly #active: string[] = [];

  constructor(stream: NodeJS.WriteStream) {
    // Ora would otherwise put the terminal's input in raw mode, and Ctrl-C would be its affair.
    this.#spinner = ora({ stream, discardStdin: false });
  }

  async step<T>(what: string, work: (say: Say) => Promise<T>): Promise<T> {
    const began = performance.now();
    this.#active.push(what);
    this.#spinner.start(this.#active.join(', '));
    let symbol = '✖';
    try {
      const result = await work((howFar) => {
        this.#spinner.text = this.#active
          .map((step) => (step === what ? `${what}: ${howFar}` : step))
          .join(', ');
      });
      symbol = '✔';
      return result;
    } finally {
      this.#active.splice(this.#active.indexOf(what), 1);
      this.#spinner.stopAndPersist({ symbol, text: `${what} (${seconds(began)})` });
      if (this.#active.length > 0) this.#spinner.start(this.#active.join(', '));
    }
  }
}
