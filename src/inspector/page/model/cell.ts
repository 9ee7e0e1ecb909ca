/**
 * What an entry of a ring is at the moment: nobody's, made available and not taken, in the device, or handed back. These words and their colours
 * are the same in the ring, in the timeline and in the legend.
 */
export type CellState = 'free' | 'available' | 'taken' | 'used';

/** An entry of a ring as it is drawn. */
export interface Cell {
  readonly slot: number;
  readonly state: CellState;
  /** 1 for what is new, down to 0: what was handed back long ago. */
  readonly fresh: number;
  /** In the cell, where there is room. */
  readonly text: string;
  /** The head, or the buffer id, of the chain that it belongs to. */
  readonly chain?: number;
  /** It goes on in the next cell. */
  readonly joined: boolean;
  /** For whom it is: the device writes there. */
  readonly writable?: boolean;
  readonly indirect?: boolean;
  /** For people: all that the entry says. */
  readonly title: string;
}

/** A place in a ring that somebody remembers. */
export interface Marker {
  readonly slot: number;
  readonly kind: 'driver' | 'device' | 'event';
  readonly title: string;
}

/** One area in memory. */
export interface Area {
  readonly name: string;
  readonly address: number | undefined;
  /** The numbers that it has beside its entries. */
  readonly numbers: readonly {
    readonly name: string;
    readonly value: string;
    readonly kind?: Marker['kind'];
  }[];
  readonly cells: readonly Cell[];
  readonly markers: readonly Marker[];
}

/** What was handed back is drawn for so many entries, paler and paler. */
export const AFTERGLOW = 12;
