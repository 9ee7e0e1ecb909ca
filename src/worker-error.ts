import type { WorkerEnd } from './keeper/keeper/worker-process.js';

/** The first worker could serve nobody. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly end: WorkerEnd;

  constructor(end: WorkerEnd) {
    super(end.words);
    this.end = end;
  }
}
