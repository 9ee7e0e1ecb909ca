import type { Chain } from '../virtqueue/chain.js';
import type { ChainQueue, Running } from './chain-queue.js';
import { codecSource } from './codec-source.js';
import { canCompile, compile } from './compiled-codec.js';
import type { DeviceQueue } from './device.js';
import type { Fields, Struct, Values } from './struct.js';

/** A queue with requests (and responses) of one shape. */
export interface StructQueue<C extends Fields, Q extends Fields, R extends Fields> {
  readonly name: string;
  readonly size?: number;
  readonly sizeLimit?: number;
  readonly request: Struct<Q>;
  readonly response?: Struct<R>;
  /** Handles one request; what it returns is the response. A request that is too short, or has no room, never gets here. */
  handle(request: Values<Q>, device: Running<C>, queue: DeviceQueue): Response<R> | Promise<Response<R>>;
}

/** What a handler answers; a queue without a response structure answers nothing. */
export type Response<R extends Fields> = Values<R> | undefined;

type Handler<C extends Fields> = NonNullable<ChainQueue<C>['handle']>;

/** Makes a queue of one with requests of one shape; its handler is typed from the structs. */
export function structQueue<C extends Fields, Q extends Fields, R extends Fields>(
  queue: StructQueue<C, Q, R>,
): ChainQueue<C> {
  const { request, response, handle: _, ...rest } = queue;
  const make = (): Handler<C> => structHandler(queue);
  const handle = make();
  makers.set(handle, make as () => Handler<never>);
  return {
    ...rest,
    shape: { request, ...(response !== undefined && { response }) } as NonNullable<ChainQueue<C>['shape']>,
    handle,
  };
}

/** By the handler that `structQueue` made: makes another. */
const makers = new WeakMap<Handler<never>, () => Handler<never>>();

/** A queue's handler for one front-end: what it remembers of requests is nobody else's. */
export function handlerOf<C extends Fields>(queue: ChainQueue<C>): Handler<C> | undefined {
  const { handle } = queue;
  if (handle === undefined) return undefined;
  return (makers.get(handle as Handler<never>)?.() as Handler<C> | undefined) ?? handle.bind(queue);
}

/** Reads a request of one shape, has it handled, writes the response. Its two arrays are filled anew for each request. */
function structHandler<C extends Fields, Q extends Fields, R extends Fields>({
  name,
  request,
  response,
  handle,
}: StructQueue<C, Q, R>): Handler<C> {
  const room = response?.size ?? 0;
  const [asked, askedWords] = scratch(request.size);
  const [answer, answerWords] = scratch(room);
  const refuse = (chain: Chain, device: Running<C>, { name }: DeviceQueue): void => {
    const had = `${chain.readable} and ${chain.writable}`;
    device.warn(
      `a request on ${name} has ${request.size} bytes and room for ${room}, not ${had}: not answered`,
      { queue: name },
    );
  };
  const finish = (chain: Chain, values: Response<R>): void => {
    if (response === undefined || values === undefined) return;
    response.encodeInto(values, answer);
    chain.write(answer);
  };
  const finishLater = (chain: Chain, values: Promise<Response<R>>): Promise<void> =>
    values.then((later) => finish(chain, later));
  if (canCompile) {
    const parts = { asked, askedWords, answer, answerWords, handle, refuse, finishLater };
    const requestFields = request.placed.map(({ field }) => field);
    const responseFields = response?.placed.map(({ field }) => field) ?? [];
    return compiledHandler(name, request, response)(parts, requestFields, responseFields) as Handler<C>;
  }
  return (chain, device, queue) => {
    if (chain.readable < request.size || chain.writable < room) return refuse(chain, device, queue);
    chain.read(asked);
    const values = handle(request.decode(asked), device, queue);
    return values instanceof Promise ? finishLater(chain, values) : finish(chain, values);
  };
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
): (...args: unknown[]) => unknown {
  const room = response?.size ?? 0;
  const from = { fields: 'requestFields', bytes: 'asked', words: 'askedWords' };
  const to = { fields: 'responseFields', bytes: 'answer', words: 'answerWords' };
  const { before, read } = codecSource(request.size, request.placed, from);
  const { write } = codecSource(room, response?.placed ?? [], to);
  const source = `${JSON.stringify(name)};
const { asked, askedWords, answer, answerWords, handle, refuse, finishLater } = parts;
${before}
return function serve(chain, device, queue) {
  if (chain.readable < ${request.size} || chain.writable < ${room}) return refuse(chain, device, queue);
  chain.read(asked);
  const values = handle(${read}, device, queue);
  if (values instanceof Promise) return finishLater(chain, values);
  ${response === undefined ? '' : `if (values === undefined) return; let v; ${write} chain.write(answer);`}
};`;
  return compile(['parts', 'requestFields', 'responseFields'], source);
}
