import { createReadStream } from 'node:fs';
import type { InspectEvent } from '../observe/event.js';
import { RecordingError } from '../record/recording-error.js';
import { RecordingReader } from '../record/recording-reader.js';
import { UsageError } from './usage-error.js';

const PIECE = 1 << 20;

/**
 * The events of a recording, one after the other, up to where it is damaged.
 *
 * @throws UsageError when the file can't be read; RecordingError at the damage.
 */
export async function* readRecording(path: string): AsyncGenerator<InspectEvent> {
  const reader = new RecordingReader();
  const pieces = createReadStream(path, { highWaterMark: PIECE });
  try {
    for await (const piece of pieces) {
      reader.push(piece as Buffer);
      for (let event = reader.next(); event !== undefined; event = reader.next()) yield event;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof RecordingError || code === undefined) throw error;
    throw new UsageError(
      code === 'ENOENT' ? `there is no file ${path}` : `${path} can't be read: ${message}`,
    );
  } finally {
    pieces.destroy();
  }
  reader.end();
}

/** What to say of a recording that is damaged. */
export function damageLine(path: string, { message, offset }: RecordingError): string {
  return `${path}: ${message}${offset === 0 ? '' : '; what comes before that was read'}`;
}
