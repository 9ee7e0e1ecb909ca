import { readFileSync } from 'node:fs';
import { FrameDecoder, GIVEN_VARIABLE, type Given } from '../frames.js';

/** What a keeper gave this process to begin with. */
export interface WasGiven {
  /** The device's code; what is on the disk otherwise. */
  readonly code: Uint8Array | undefined;
  /** What the first device goes on from that a driver starts. */
  readonly state: Uint8Array | undefined;
}

/** Reads it, once. */
export function readGiven(): WasGiven {
  const fd = process.env[GIVEN_VARIABLE];
  // What this process starts is given nothing.
  delete process.env[GIVEN_VARIABLE];
  if (fd === undefined) return { code: undefined, state: undefined };
  const [frame] = new FrameDecoder<Given>().push(readFileSync(Number(fd)), []);
  const { body, bytes } = frame!;
  const size = body.code ?? 0;
  return {
    code: body.code === undefined ? undefined : bytes.subarray(0, size),
    state: bytes.length > size ? bytes.subarray(size) : undefined,
  };
}
