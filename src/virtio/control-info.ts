/** What is known of a control from outside. */
export interface ControlInfo {
  readonly name: string;
  readonly help: string;
  /** As it is written, such as `target size=<size>`; the values alone, in order, are as good. */
  readonly usage: string;
}
