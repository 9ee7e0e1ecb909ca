import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { printable } from '../../lines/printable.js';
import { RecordingError } from '../../record/recording-error.js';
import { CommandError } from '../command-error.js';
import { cut } from '../field-view.js';
import type { Live } from '../live.js';
import type { CommandAnswer } from '../protocol.js';
import { readCommand } from '../read-command.js';
import { Recorded } from '../recorded.js';
import { runCommand } from '../run-command.js';
import type { SourceView } from '../source-view.js';
import { bodyText, pieces, TooLarge } from './body.js';
import { Gatekeeper } from './gatekeeper.js';
import { GRACE, Pages } from './pages.js';
import { staticFile } from './static-files.js';
import { STRANGER_POLICY, strangerPage } from './stranger-page.js';

/** Bytes of a command, and of a recording. */
const COMMAND = 64 << 10;
const RECORDING = 256 << 20;
/** Items of one answer, unless told and at most. */
const ITEMS = 2000;
const ITEMS_MOST = 10_000;
/** Connections, of pages and of what they ask beside. */
const CONNECTIONS = 64;

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** What an inspector is made of. */
export interface InspectorOptions {
  /** For the title. */
  readonly title: string;
  /** Devices that are served; none where there is a recording alone. */
  readonly live?: Live | undefined;
  /** A recording that is open from the start. */
  readonly recorded?: Recorded | undefined;
  readonly host: string;
  /** 0 for one that is free. */
  readonly port: number;
  /** How long what is held waits for a page to come back, ms. */
  readonly grace?: number;
  /** Where the page's files are, where that is not in this package. */
  readonly folder?: URL;
}

/** Answers with a status and one line. */
class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Serves the page, and tells it all it shows. It never takes more than a moment, whatever a page does. */
export class InspectorServer {
  readonly #options: InspectorOptions;
  readonly #gate: Gatekeeper;
  readonly #pages: Pages;
  readonly #server: Server;
  /** A recording that a page sent. */
  #sent: Recorded | undefined;
  #recordings = 0;
  #reading = false;

  private constructor(options: InspectorOptions) {
    this.#options = options;
    this.#gate = new Gatekeeper(options.host);
    this.#pages = new Pages(options.live, options.grace ?? GRACE);
    this.#server = createServer({ requestTimeout: 120_000, headersTimeout: 10_000 }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = CONNECTIONS;
  }

  /** @throws what `listen` does when the port can't be had. */
  static async listen(options: InspectorOptions): Promise<InspectorServer> {
    const inspector = new InspectorServer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        inspector.#server.once('listening', resolve).once('error', reject);
        inspector.#server.listen(options.port, options.host);
      });
    } catch (error) {
      inspector.close();
      throw error;
    }
    inspector.#gate.cookie = `virtio-misc-${inspector.port}`;
    // What goes wrong with one connection is that one's affair.
    inspector.#server.on('error', () => {});
    return inspector;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What to open. The token in it is good once. */
  get url(): string {
    const { host } = this.#options;
    const name = host.includes(':') ? `[${host}]` : host;
    return `http://${name}:${this.port}/?token=${this.#gate.token ?? ''}`;
  }

  /** The process does not live on for it alone. */
  unref(): void {
    this.#server.unref();
  }

  close(): void {
    this.#pages.close('the server ends');
    if (this.#options.live !== undefined) this.#options.live.asleep = true;
    this.#server.close();
    // What is said last is still sent.
    setTimeout(() => this.#server.closeAllConnections(), 100).unref();
    this.#server.closeIdleConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
      await this.#route(request, response);
    } catch (error) {
      const [status, line] = explain(error);
      if (response.headersSent) response.destroy();
      else {
        // What is left of the body is not waited for.
        if (!request.complete) response.setHeader('connection', 'close');
        if (isForPeople(request)) sendStranger(response, status, line);
        else sendJson(response, status, { error: line });
      }
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request;
    const url = readUrl(request.url ?? '');
    const { pathname: path } = url;
    const refusal = this.#gate.refuse(request, path === '/');
    if (refusal !== undefined) throw new HttpError(refusal.status, refusal.error);
    const token = url.searchParams.get('token');
    if (path === '/' && method === 'GET' && token !== null) {
      this.#comeIn(token, request, response);
      return;
    }
    if (!this.#gate.knows(request)) throw new HttpError(401, STRANGER);
    if (path === '/api/command' || path === '/api/recording') {
      if (method !== 'POST') throw new HttpError(405, `${path} takes POST`);
      if (path === '/api/command') sendJson(response, 200, await this.#command(request));
      else sendJson(response, 200, await this.#recording(request, url));
      return;
    }
    if (method !== 'GET') throw new HttpError(405, `${path} takes GET`);
    if (path === '/api/events') this.#events(url, response);
    else if (path === '/api/timeline') sendJson(response, 200, this.#timeline(url));
    else if (path === '/api/chain') sendJson(response, 200, this.#chain(url));
    else await this.#file(path, response);
  }

  /** A token becomes a cookie. */
  #comeIn(token: string, request: IncomingMessage, response: ServerResponse): void {
    if (this.#gate.takes(token, request)) response.setHeader('set-cookie', this.#gate.setCookie);
    else if (!this.#gate.knows(request)) throw new HttpError(401, STRANGER);
    response.writeHead(303, { location: '/' }).end();
  }

  #events(url: URL, response: ServerResponse): void {
    const view = this.#view(url);
    if (this.#pages.full) throw new HttpError(503, 'too many pages are open: close one of them');
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    const title = this.#options.live?.name ?? this.#options.title;
    this.#pages.open(view, { title, sources: this.#views().map(({ source }) => source) }, response);
  }

  async #command(request: IncomingMessage): Promise<CommandAnswer> {
    if (!/^application\/json\b/.test(request.headers['content-type'] ?? ''))
      throw new HttpError(415, 'a command is application/json');
    const command = readCommand(await bodyText(request, COMMAND));
    if (command.command === 'view') {
      const page = this.#pages.page(command.client);
      if (page === undefined) throw new CommandError(`there is no page ${command.client}`);
      page.rings = command.rings;
      return { ok: true };
    }
    const { live } = this.#options;
    if (live === undefined) throw new CommandError('nothing is served here: it is a recording');
    // Nobody would let it go again.
    if (!this.#pages.awake)
      throw new HttpError(409, 'no page is open: what is held needs somebody who looks');
    return runCommand(live, command);
  }

  async #recording(request: IncomingMessage, url: URL): Promise<{ source: string }> {
    if (this.#reading) throw new HttpError(409, 'another recording is being read: wait for it');
    this.#reading = true;
    try {
      const name = cut(printable(url.searchParams.get('name') ?? 'recording'), 200);
      const id = `recording-${this.#recordings + 1}`;
      this.#sent = await Recorded.read(id, name, pieces(request, RECORDING), async () => void (await turn()));
      this.#recordings += 1;
      return { source: id };
    } finally {
      this.#reading = false;
    }
  }

  #timeline(url: URL): object {
    const { model, now } = this.#view(url);
    const where = { connection: numberIn(url, 'connection'), queue: numberIn(url, 'queue') };
    const limit = Math.min(numberIn(url, 'limit') ?? ITEMS, ITEMS_MOST);
    return model.timeline(where, numberIn(url, 'from') ?? 0, numberIn(url, 'to') ?? now, limit);
  }

  #chain(url: URL): object {
    const need = (name: string): number => {
      const value = numberIn(url, name);
      if (value === undefined) throw new CommandError(`${name} is missing`);
      return value;
    };
    const detail = this.#view(url).model.chain(need('connection'), need('queue'), need('id'));
    if (detail === undefined) throw new HttpError(404, 'that chain is not kept any more');
    return detail;
  }

  #view(url: URL): SourceView {
    const views = this.#views();
    const id = url.searchParams.get('source');
    const view = id === null ? views[0] : views.find(({ source }) => source.id === id);
    if (view === undefined) throw new HttpError(404, 'there is no such source');
    return view;
  }

  #views(): SourceView[] {
    const { live, recorded } = this.#options;
    return [live, recorded, this.#sent].filter((view) => view !== undefined);
  }

  async #file(path: string, response: ServerResponse): Promise<void> {
    const file = await staticFile(path, this.#options.folder);
    if (file === undefined) throw new HttpError(404, 'there is nothing here');
    response.writeHead(200, { 'content-type': file.type }).end(file.bytes);
  }
}

const STRANGER =
  'open the address that was printed: it lets one browser in, once. Start again for another one';

function readUrl(text: string): URL {
  try {
    return new URL(text, 'http://inspector');
  } catch {
    throw new HttpError(400, 'that is no address');
  }
}

function numberIn(url: URL, name: string): number | undefined {
  const text = url.searchParams.get(name);
  if (text === null || text === '') return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new CommandError(`${name}: take a number`);
  return value;
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
    .end(JSON.stringify(value));
}

/** Somebody opened the page, and reads what comes. */
function isForPeople({ method, url = '', headers }: IncomingMessage): boolean {
  return method === 'GET' && /^\/(\?|$)/.test(url) && (headers.accept ?? '').includes('text/html');
}

function sendStranger(response: ServerResponse, status: number, why: string): void {
  response.setHeader('content-security-policy', STRANGER_POLICY);
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(strangerPage(why));
}

/** Nothing of what is inside is told. */
function explain(error: unknown): [status: number, line: string] {
  if (error instanceof HttpError) return [error.status, error.message];
  if (error instanceof CommandError || error instanceof RecordingError) return [400, error.message];
  if (error instanceof TooLarge) return [413, error.message];
  return [500, 'the inspector failed'];
}
