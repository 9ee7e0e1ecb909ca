import type { IncomingMessage } from 'node:http';

/** More than there is room for. */
export class TooLarge extends Error {
  override readonly name = 'TooLarge';
}

/**
 * The pieces of what was sent.
 *
 * @param most - bytes.
 * @throws TooLarge as soon as there are more.
 */
export async function* pieces(request: IncomingMessage, most: number): AsyncGenerator<Buffer> {
  const said = Number(request.headers['content-length'] ?? 0);
  if (said > most) throw new TooLarge(`${most} bytes at most can be sent, not ${said}`);
  let length = 0;
  for await (const piece of request) {
    length += (piece as Buffer).length;
    if (length > most) throw new TooLarge(`${most} bytes at most can be sent`);
    yield piece as Buffer;
  }
}

/** All of it as text. @throws TooLarge. */
export async function bodyText(request: IncomingMessage, most: number): Promise<string> {
  const all: Buffer[] = [];
  for await (const piece of pieces(request, most)) all.push(piece);
  return Buffer.concat(all).toString('utf8');
}
