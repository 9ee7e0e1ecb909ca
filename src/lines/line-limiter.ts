/** What a limiter needs of the process around it. */
export interface LimiterPorts<About> {
  /** Where the lines go that are shown. */
  write(line: string, about: About): void;
  /** ms, on a clock that only goes forward. */
  now(): number;
  /** Calls back once. @returns takes it back. */
  after(ms: number, callback: () => void): () => void;
}

/** How many lines of one kind are shown. */
export interface Allowance {
  /** At once, after it was quiet for long enough. */
  readonly first: number;
  /** From then on, in a second. */
  readonly each: number;
}

/** Lines of one kind. */
interface Kind<About> {
  readonly allowance: Allowance;
  /** Lines that may be shown now. */
  tokens: number;
  /** When `tokens` was right, ms. */
  since: number;
  /** Lines that were not shown since the last one that was. */
  held: number;
  about: About | undefined;
  /** Says how many were not shown. */
  sum: (held: number) => string;
}

const USUAL: Allowance = { first: 10, each: 1 };
/** For a state that lasts: whoever reads it knows, and is told once a minute that it still does. */
export const ONCE: Allowance = { first: 1, each: 1 / 60 };

const PERIOD = 1000;
/** Kinds told apart. A peer that makes up new ones has its lines counted together. */
const KINDS = 16;
/** Lines looked at in one period: of more, only the number is of interest. */
const LOOKED_AT = 1000;

/** What a second gives, where timers go off a little early or late. */
const NEARLY_ONE = 0.9;

const OTHERS = '';
const FEW: Allowance = { first: 1, each: 1 };

/**
 * Keeps lines that a peer can cause, as often as it likes, from filling a disk or holding up everybody: of each kind the first ten are
 * shown, then one a second with how many there were. A kind that was quiet for ten seconds starts anew.
 */
export class LineLimiter<About> {
  readonly #ports: LimiterPorts<About>;
  readonly #kinds = new Map<string, Kind<About>>();
  #looked = 0;
  #cancel: (() => void) | undefined;

  constructor(ports: LimiterPorts<About>) {
    this.#ports = ports;
  }

  /** Shows a line, or counts it. Lines that differ in their numbers only are of one kind. */
  say(line: string, about: About, allowance: Allowance = USUAL): void {
    this.#looked += 1;
    const known = this.#looked <= LOOKED_AT;
    const kind = known ? this.#kind(nameOf(line), allowance) : this.#kind(OTHERS, FEW);
    if (this.#takes(kind)) this.#ports.write(line, about);
    else this.#hold(kind, about, (held) => (held === 1 ? line : `${line} (and ${held - 1} more)`));
  }

  /**
   * Whether a line of a kind with a name may be shown now; for lines that take work to make. If not, it is counted.
   *
   * @param name - the caller's own: there is no limit on these.
   * @param sum - says how many lines were counted.
   */
  allows(name: string, about: About, allowance: Allowance, sum: (held: number) => string): boolean {
    const kind = this.#kinds.get(name) ?? this.#add(name, allowance);
    if (this.#takes(kind)) return true;
    this.#hold(kind, about, sum);
    return false;
  }

  /** Says what was only counted so far. The limiter can be used on. */
  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    for (const kind of this.#kinds.values()) this.#summarize(kind);
  }

  #tick(): void {
    this.#cancel = undefined;
    this.#looked = 0;
    for (const kind of this.#kinds.values()) {
      this.#refill(kind);
      if (kind.tokens >= NEARLY_ONE) this.#summarize(kind);
      if (kind.held > 0) this.#tickLater();
    }
  }

  #tickLater(): void {
    this.#cancel ??= this.#ports.after(PERIOD, () => this.#tick());
  }

  #kind(name: string, allowance: Allowance): Kind<About> {
    const known = this.#kinds.get(name);
    if (known !== undefined) return known;
    if (this.#kinds.size >= KINDS) this.#forget();
    if (this.#kinds.size >= KINDS && name !== OTHERS) return this.#kind(OTHERS, FEW);
    return this.#add(name, allowance);
  }

  #add(name: string, allowance: Allowance): Kind<About> {
    const kind = {
      allowance,
      tokens: allowance.first,
      since: this.#ports.now(),
      held: 0,
      about: undefined,
      sum: () => '',
    };
    this.#kinds.set(name, kind);
    return kind;
  }

  /** Makes room for other kinds: those that would start anew anyway need not be remembered. */
  #forget(): void {
    for (const [name, kind] of this.#kinds) {
      this.#refill(kind);
      if (kind.held === 0 && kind.tokens >= kind.allowance.first) this.#kinds.delete(name);
    }
  }

  /** Whether one more is shown. What comes after a line that was counted must not be shown before the count. */
  #takes(kind: Kind<About>): boolean {
    // It also ends the time in which only so many lines are looked at.
    this.#tickLater();
    if (kind.held > 0) return false;
    this.#refill(kind);
    if (kind.tokens < 1) return false;
    kind.tokens -= 1;
    return true;
  }

  #refill(kind: Kind<About>): void {
    const now = this.#ports.now();
    const { first, each } = kind.allowance;
    kind.tokens = Math.min(first, kind.tokens + ((now - kind.since) / 1000) * each);
    kind.since = now;
  }

  #hold(kind: Kind<About>, about: About, sum: (held: number) => string): void {
    kind.held += 1;
    kind.about = about;
    kind.sum = sum;
  }

  #summarize(kind: Kind<About>): void {
    const { held, about, sum } = kind;
    if (held === 0) return;
    kind.held = 0;
    kind.tokens = Math.max(0, kind.tokens - 1);
    this.#ports.write(sum(held), about as About);
  }
}

function nameOf(line: string): string {
  return line.replace(/0x[\da-f]+|\d+/gi, '#');
}
