import type { Model } from './model.js';
import type { Breakpoint, Hold, RingSample, Source } from './protocol.js';

/** What a page looks at: devices that are served, or a recording. */
export interface SourceView {
  readonly source: Source;
  readonly model: Model;
  /** ns. */
  readonly now: number;
  /** The first time that there is anything of. */
  readonly start: number;
  /** What time 0 was, ms since 1970. */
  readonly epoch: number;
  /** A ring as it is now; `undefined` of one that is not there. */
  ring(connection: number, queue: number): RingSample | undefined;
  /** Grows whenever that ring may be another than before. */
  pulse(connection: number, queue: number): number;
  holds(): readonly Hold[];
  breakpoints(): readonly Breakpoint[];
}
