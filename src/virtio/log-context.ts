/** What a line of the log is about, beside its connection. */
export interface LogContext {
  /** A queue's name. */
  readonly queue?: string;
  /** What a device threw: whoever shows the line may show where. */
  readonly error?: unknown;
  /** Lines that say more: where it was thrown, and the code there. */
  readonly detail?: readonly string[];
}
