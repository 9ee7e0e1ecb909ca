import type { Chain } from '../virtqueue/chain.js';
import type { ChainQueue, Running } from './chain-queue.js';
import { codecSource } from './codec-source.js';
import { canCompile, compile } from './compiled-codec.js';
import { described } from './described.js';
import type { DeviceQueue } from './device.js';
import type { Layout } from './layout.js';
import { didYouMean } from './nearest.js';
import { Place } from './place.js';
import { type Fields, Struct } from './struct.js';

/** A queue with requests (and responses) of one shape. */
export interface StructQueue<
  C extends Fields,
  Q,
  R = void,
  N extends string = string,
  A extends string = string,
> {
  readonly name: N;
  readonly size?: number;
  readonly sizeLimit?: number;
  /** What a request is: a `struct`, or a `union` of some. */
  readonly request: Layout<Q>;
  readonly response?: Layout<R>;
  /** Handles one request; what it returns is the response. A request that is too short, or has no room, never gets here. */
  handle(request: Q, device: Running<C, A>, queue: DeviceQueue): Response<R> | Promise<Response<R>>;
  /** The driver, or its VMM, stops this queue: see `ChainQueue`. */
  stopping?(device: Running<C, A>, queue: DeviceQueue): void;
}

/** What a handler answers: `null` hands the request back as it came. A queue without a response structure answers nothing. */
export type Response<R> = NoInfer<R> | null;

/** What `structQueue` makes. */
export interface RequestQueue<C extends Fields, N extends string = string, A extends string = string>
  extends ChainQueue<C, N, A> {
  readonly shape: NonNullable<ChainQueue<C>['shape']>;
}

type Handler<C extends Fields> = NonNullable<ChainQueue<C>['handle']>;

/**
 * Makes a queue of one with requests of one shape; its handler is typed from the structs. Written within `defineDevice`, a handler that
 * uses the configuration space, or queues by their names, names the device's type: `handle({ n }, device: Device<typeof Config, 'eventq'>)`.
 */
export function structQueue<
  C extends Fields,
  Q,
  R = void,
  const N extends string = string,
  A extends string = string,
>(queue: StructQueue<C, Q, R, N, A>): RequestQueue<C, N, A> {
  const place = new Place(structQueue);
  const problem = structQueueProblem(queue);
  if (problem !== undefined) throw place.blame(new TypeError(problem));
  const { request, response, handle: _, ...rest } = queue;
  const make: MakeHandler<never> = (check) =>
    structHandler(queue as unknown as StructQueue<never, unknown, unknown>, place, check);
  const handle = make(true) as unknown as ChainQueue<C, N, A>['handle'];
  makers.set(handle as Handler<never>, make);
  return { ...rest, shape: { request, ...(response !== undefined && { response }) }, handle: handle! };
}

type MakeHandler<C extends Fields> = (check: boolean) => Handler<C>;

/** By the handler that `structQueue` made: makes another. */
const makers = new WeakMap<Handler<never>, MakeHandler<never>>();

/**
 * A queue's handler for one front-end: what it remembers of requests is nobody else's.
 *
 * @param check - whether answers are looked at before they are sent.
 */
export function handlerOf<C extends Fields>(queue: ChainQueue<C>, check: boolean): Handler<C> | undefined {
  const { handle } = queue;
  if (handle === undefined) return undefined;
  return (makers.get(handle as Handler<never>)?.(check) as Handler<C> | undefined) ?? handle.bind(queue);
}

const KEYS: readonly string[] = ['name', 'size', 'sizeLimit', 'request', 'response', 'handle', 'stopping'];

/** Why it can't be one, if it can't. */
function structQueueProblem(
  queue: { [K in keyof StructQueue<never, unknown, unknown>]?: unknown },
): string | undefined {
  if (typeof queue !== 'object' || queue === null)
    return `structQueue takes { name, request, ... }, not ${described(queue)}`;
  const name = typeof queue.name === 'string' ? `queue ${queue.name}` : 'a structQueue';
  const unknown = Object.keys(queue).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) return `${name} has an unknown '${unknown}'${didYouMean(unknown, KEYS)}`;
  for (const key of ['request', 'response'] as const) {
    const layout = queue[key];
    if (key === 'response' && layout === undefined) continue;
    if (typeof (layout as Partial<Layout<unknown>> | undefined)?.decode !== 'function')
      return `${name} has ${described(layout)} for its ${key}: take what struct({...}) or union(...) returns`;
  }
  if (typeof queue.handle !== 'function')
    return `${name} has ${described(queue.handle)} for its handle: take a function`;
  return undefined;
}

/** Reads a request of one shape, has it handled, writes the response. Its two arrays are filled anew for each request. */
function structHandler(
  { name, request, response, handle }: StructQueue<never, unknown, unknown>,
  place: Place,
  check: boolean,
): Handler<never> {
  const room = response?.size ?? 0;
  const refuse = (chain: Chain, device: Running<never>, queue: DeviceQueue, why?: string): void => {
    const expected = `${bytesOf(request)}${response === undefined ? '' : ` and room for ${bytesOf(response)}`}`;
    const got = `${chain.readable} ${chain.readable === 1 ? 'byte' : 'bytes'} and room for ${chain.writable}`;
    device.warn(`a request on ${queue.name} is not answered: ${why ?? `got ${got}, expected ${expected}`}`, {
      queue: queue.name,
    });
  };
  const wrong = (values: unknown): void => {
    const problem =
      response === undefined
        ? `it is ${described(values)}, and the queue has no response`
        : response.problem(values);
    if (problem !== undefined)
      throw place.blame(new TypeError(`the answer of ${name} can't be sent: ${problem}`));
  };
  const finish = (chain: Chain, values: unknown): void => {
    if (values === null) return;
    if (response === undefined) {
      if (check && typeof values === 'object') wrong(values);
      return;
    }
    if (check) wrong(values);
    else if (values === undefined) return;
    const answer = response.encode(values);
    if (answer.length > chain.writable)
      throw new RangeError(`an answer of ${answer.length} bytes does not fit into ${chain.writable}`);
    chain.write(answer);
  };
  const finishLater = (chain: Chain, values: Promise<unknown>): Promise<void> =>
    values.then((later) => finish(chain, later));
  if (canCompile && isClosed(request) && (response === undefined || isClosed(response))) {
    const [asked, askedWords] = scratch(request.size);
    const [answer, answerWords] = scratch(room);
    const parts = { asked, askedWords, answer, answerWords, handle, refuse, wrong, finishLater };
    const requestFields = request.placed.map(({ field }) => field);
    const responseFields = response?.placed.map(({ field }) => field) ?? [];
    const make = compiledHandler(name, request, response, check);
    return make(parts, requestFields, responseFields) as Handler<never>;
  }
  const most = Math.max(request.most, request.size);
  const isOpen = most !== request.size;
  return (chain, device, queue) => {
    const { readable } = chain;
    if (readable < request.size || chain.writable < room || (isOpen && readable > most))
      return refuse(chain, device, queue);
    const asked = new Uint8Array(Math.min(readable, most));
    chain.read(asked);
    let values: unknown;
    try {
      values = request.decode(asked);
    } catch (error) {
      // A union's struct that is not all there.
      if (error instanceof RangeError) return refuse(chain, device, queue, error.message);
      throw error;
    }
    const answer = handle(values, device, queue);
    return answer instanceof Promise ? finishLater(chain, answer) : finish(chain, answer);
  };
}

function isClosed(layout: Layout<unknown>): layout is Struct<Fields> {
  return layout instanceof Struct && layout.most === layout.size;
}

/** Answers of a queue whose names are all looked at. */
const LOOKED_THROUGH = 100;

/** `12 of { a, b }`. */
function bytesOf({ size, most, outline }: Layout<unknown>): string {
  return `${most === size ? size : `${size} to ${most}`} of ${outline}`;
}

/** Bytes, and all that are whole words of them as such. */
function scratch(size: number): [Uint8Array, Int32Array] {
  const bytes = new Uint8Array(size);
  return [bytes, new Int32Array(bytes.buffer, 0, Math.floor(size / 4))];
}

/**
 * The same as one piece of code for this queue alone, which the engine sees through from the request's bytes to the answer's: for a
 * handler that only computes, not even the objects of its values are made.
 */
function compiledHandler(
  name: string,
  request: Struct<Fields>,
  response: Struct<Fields> | undefined,
  check: boolean,
): (...args: unknown[]) => unknown {
  const room = response?.size ?? 0;
  const from = { fields: 'requestFields', bytes: 'asked', words: 'askedWords' };
  const to = { fields: 'responseFields', bytes: 'answer', words: 'answerWords' };
  const asking = codecSource(request.size, request.placed, from);
  const answering = codecSource(room, response?.placed ?? [], to);
  /** @param finish - what becomes of `values`. */
  const serve = (named: string, finish: string): string => `function ${named}(chain, device, queue) {
  if (chain.readable < ${request.size} || chain.writable < ${room}) return refuse(chain, device, queue);
  chain.read(asked);
  const values = handle(${asking.read}, device, queue);
  if (values instanceof Promise) return finishLater(chain, values);
  ${finish}
}`;
  const send = `${answering.write} chain.write(answer);`;
  const quick = `if (typeof values !== 'object') wrong(values); ${answering.check}`;
  let later: string;
  if (response === undefined)
    later = check ? "if (typeof values === 'object' && values !== null) wrong(values);" : '';
  else if (check) later = `if (values === null) return; let v; ${quick} ${send}`;
  else later = `if (values === null || values === undefined) return; let v; ${send}`;
  // Looking through the names that an answer has costs more than all else: those that nobody knows are there from the first on.
  const first = `left--; if (values === null) return; let v; wrong(values); ${send}`;
  const both = check && response !== undefined;
  const source = `${JSON.stringify(name)};
const { asked, askedWords, answer, answerWords, handle, refuse, wrong, finishLater } = parts;
${asking.before}
{ ${answering.before}
${serve('served', later)}
${
  both
    ? `let left = ${LOOKED_THROUGH}; ${serve('first', first)}
return function serve(chain, device, queue) { return left > 0 ? first(chain, device, queue) : served(chain, device, queue); };`
    : 'return served;'
} }`;
  return compile(['parts', 'requestFields', 'responseFields'], source);
}
