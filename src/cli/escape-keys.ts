/** Ctrl-A, with which keys for this program begin. */
const ESCAPE = 0x01;

/** What a person at the guest's terminal can have this program do. */
export interface EscapeActions {
  /** These keys are the guest's. */
  send(keys: Uint8Array): void;
  end(): void;
  help(): void;
}

/** For a help text. */
export const ESCAPE_HELP: readonly string[] = [
  'Ctrl-A x  ends the guest',
  'Ctrl-A a  sends Ctrl-A',
  'Ctrl-A h  says this',
];

/** Takes the keys that are for this program out of those that are typed. Any other key after Ctrl-A goes to the guest, as does Ctrl-A. */
export class EscapeKeys {
  readonly #actions: EscapeActions;
  #escaped = false;

  constructor(actions: EscapeActions) {
    this.#actions = actions;
  }

  /** @param keys - as they come from the terminal, a piece of any length. */
  type(keys: Uint8Array): void {
    let from = 0;
    const sendUpTo = (end: number): void => {
      if (end > from) this.#actions.send(keys.subarray(from, end));
    };
    for (const [index, key] of keys.entries()) {
      if (!this.#escaped) {
        if (key !== ESCAPE) continue;
        sendUpTo(index);
        from = index + 1;
        this.#escaped = true;
        continue;
      }
      this.#escaped = false;
      const action = this.#actionOf(key);
      if (action === undefined) {
        this.#actions.send(Uint8Array.of(ESCAPE));
        continue;
      }
      from = index + 1;
      action();
    }
    sendUpTo(keys.length);
  }

  #actionOf(key: number): (() => void) | undefined {
    if (key === ESCAPE || key === 0x61) return () => this.#actions.send(Uint8Array.of(ESCAPE));
    if (key === 0x78 || key === 0x18) return () => this.#actions.end();
    if (key === 0x68 || key === 0x3f) return () => this.#actions.help();
    return undefined;
  }
}
