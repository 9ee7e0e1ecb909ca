import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

/** Why a request is not answered. */
export interface Refusal {
  readonly status: number;
  readonly error: string;
}

/**
 * Who is let in: whoever has the address that was printed, once; from then on his browser, by a cookie that no script sees and no other site's request
 * carries. Names that anybody could have point here (DNS rebinding) are refused, and so is what other pages ask for.
 */
export class Gatekeeper {
  readonly #host: string;
  readonly #session: string = secret();
  #token: string | undefined = secret();
  /** Cookies are not of ports: two inspectors at a time need two names. */
  cookie = 'virtio-misc';

  /** @param host - the name that the server was told to have. */
  constructor(host: string) {
    this.#host = host.toLowerCase();
  }

  /** What the printed address ends in; `undefined` once it was used. */
  get token(): string | undefined {
    return this.#token;
  }

  /** Looks at where a request comes from; @returns `undefined` when that is all right. */
  refuse({ headers, method }: IncomingMessage, isPage: boolean): Refusal | undefined {
    const { host, origin } = headers;
    if (host === undefined || !this.#isOurs(host))
      return {
        status: 403,
        error: `there is no ${host === undefined ? 'host named' : 'inspector of that name'}: use the address that was printed`,
      };
    if (origin !== undefined && origin !== `http://${host}`)
      return { status: 403, error: 'other sites are not answered' };
    const site = headers['sec-fetch-site'];
    // A link from elsewhere may lead to the page.
    if (site !== undefined && site !== 'same-origin' && site !== 'none' && !(isPage && method === 'GET'))
      return { status: 403, error: 'other sites are not answered' };
    return undefined;
  }

  /** Whether the token lets this one in: once. */
  takes(token: string, { headers }: IncomingMessage): boolean {
    // A browser that looks ahead is nobody who came.
    if (headers['sec-purpose'] !== undefined || headers.purpose === 'prefetch') return false;
    if (this.#token === undefined || !same(token, this.#token)) return false;
    this.#token = undefined;
    return true;
  }

  /** What his browser is to keep. */
  get setCookie(): string {
    return `${this.cookie}=${this.#session}; Path=/; HttpOnly; SameSite=Strict`;
  }

  /** Whether a request has the cookie. */
  knows({ headers }: IncomingMessage): boolean {
    for (const part of (headers.cookie ?? '').split(';')) {
      const [name, value] = part.trim().split('=', 2);
      if (name === this.cookie && value !== undefined && same(value, this.#session)) return true;
    }
    return false;
  }

  /** No name can be made to point at an address that is written out. */
  #isOurs(host: string): boolean {
    const name = host
      .toLowerCase()
      .replace(/:\d{1,5}$/, '')
      .replace(/^\[(.*)\]$/, '$1');
    return name === 'localhost' || name === this.#host || isIP(name) !== 0;
  }
}

function secret(): string {
  return randomBytes(32).toString('base64url');
}

/** In a time that says nothing of where they differ. */
function same(a: string, b: string): boolean {
  const of = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(of(a), of(b));
}
