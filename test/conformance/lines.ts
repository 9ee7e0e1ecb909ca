/** Lines that come one by one, for somebody who waits for some of them. */
export class Lines {
  readonly all: string[] = [];
  #wake: () => void = () => {};

  add = (line: string): void => {
    this.all.push(line);
    this.#wake();
  };

  /** Waits until there are so many. */
  printed = async (count: number): Promise<readonly string[]> => {
    while (this.all.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.all;
  };
}
