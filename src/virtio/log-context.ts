/** What a line of the log is about, beside its connection. */
export interface LogContext {
  /** A queue's name. */
  readonly queue?: string;
}
