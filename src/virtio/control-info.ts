/** What is known of a control from outside. */
export interface ControlInfo {
  readonly name: string;
  readonly help: string;
  /** As it is written, such as `target <size>`. */
  readonly usage: string;
}
