/** What may be told of anything that waits. */
export interface Abortable {
  /** Ends the wait: it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What is waited for, unless the signal is aborted first.
 *
 * @param abandon - called then, once, before the rejection; what comes later of the promise is nobody's.
 * @throws the signal's reason, also when it was aborted before.
 */
export function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  abandon: () => void = () => {},
): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      abandon();
      reject(signal.reason);
    };
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
