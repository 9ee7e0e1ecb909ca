/** What a page asked for and can't have; `message` is one line for people. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
