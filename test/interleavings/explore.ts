import type { Access } from './access.js';
import { Buffers, type Order } from './buffers.js';
import type { End } from './end.js';
import { Memories } from './memories.js';
import { FIELDS, States } from './states.js';

/** What came of a search. */
export interface Outcome {
  /** Different states that both ends, the memory, the store buffers and the bells can be in. */
  readonly states: number;
  /** Different places that each end's code can be in, by what it has read. */
  readonly places: readonly number[];
  /** What went wrong on a shortest way, and the steps of that way. */
  readonly fault?: { readonly text: string; readonly steps: readonly string[] };
}

/** More states than any of our scenes has: the search would take all memory. */
const STATES_MOST = 20_000_000;

const [BOTH, MEMORY, BUFFER, BELLS] = [[0, 1], 2, 3, 5] as const;

/**
 * Tries every order in which two ends can do what they do, each access to the memory between them a step. An end that waits goes on when
 * its bell was rung, once for any number of times; one that rings has its stores visible before, as a system call does it.
 *
 * @param nameOf - for the steps: the field at an offset of the memory.
 */
export function explore(
  ends: readonly [End, End],
  image: Uint8Array,
  order: Order,
  nameOf: (offset: number) => string,
): Outcome {
  const memories = new Memories(new Int32Array(image.slice().buffer));
  const buffers = new Buffers(memories);
  const states = new States();
  const now = new Int32Array(FIELDS);
  let from = -1;

  const settled = new Int32Array(2);

  /** Nobody sees a store go into the buffer, so nothing can come of doing it later: where the end is after those, and its buffer. */
  function settle(end: End, node: number, buffer: number): void {
    let place = node;
    let pending = buffer;
    if (order !== 'sc') {
      for (let access = end.accessAt(place); access.kind === 'write'; access = end.accessAt(place)) {
        pending = buffers.push(pending, memories.numberOf(access));
        place = end.after(place);
      }
    }
    settled[0] = place;
    settled[1] = pending;
  }

  /** Adds the state that `now` is but for these. */
  function reach(end: number, node: number, memory: number, buffer: number, bells: number): void {
    settle(ends[end]!, node, buffer);
    const [place, pending] = [settled[0]!, settled[1]!];
    if (end === 0) states.add(place, now[1]!, memory, pending, now[4]!, bells, from);
    else states.add(now[0]!, place, memory, now[3]!, pending, bells, from);
  }

  /** All that an end may do now. @returns whether that is anything. */
  function step(end: number): boolean {
    const self = ends[end]!;
    const node = now[end]!;
    const memory = now[MEMORY]!;
    const buffer = now[BUFFER + end]!;
    const bells = now[BELLS]!;
    const pending = buffers.contentOf(buffer);
    for (let i = 0; i < pending.length; i++) {
      if (!buffers.mayLeave(buffer, i, order)) continue;
      reach(end, node, memories.write(memory, pending[i]!), buffers.without(buffer, i), bells);
    }
    const access = self.accessAt(node);
    switch (access.kind) {
      case 'read':
        reach(end, self.afterReading(node, buffers.read(memory, buffer, access)), memory, buffer, bells);
        return true;
      case 'write':
      case 'store':
        if (buffer !== 0) return true;
        reach(end, self.after(node), memories.write(memory, memories.numberOf(access)), buffer, bells);
        return true;
      case 'ring':
        if (buffer === 0) reach(end, self.after(node), memory, buffer, bells | (1 << (1 - end)));
        return true;
      case 'wait':
        if ((bells & (1 << end)) === 0) return pending.length > 0;
        reach(end, self.after(node), memory, buffer, bells & ~(1 << end));
        return true;
      default:
        return pending.length > 0;
    }
  }

  function load(state: number): void {
    for (let field = 0; field < FIELDS; field++) now[field] = states.at(state, field);
  }

  /** What is wrong in the state that `now` is. */
  function faultOf(moved: boolean): string | undefined {
    for (const end of BOTH) {
      const access = ends[end]!.accessAt(now[end]!);
      if (access.kind === 'failed') return `${ends[end]!.name}: ${access.error.message}`;
    }
    if (moved) return undefined;
    const asleep = BOTH.filter((end) => ends[end]!.accessAt(now[end]!).kind !== 'end');
    if (asleep.length === 0) return undefined;
    return `nobody is awake: lost wake-up of the ${asleep.map((end) => ends[end]!.name).join(' and the ')}`;
  }

  for (const end of BOTH) {
    settle(ends[end]!, 0, 0);
    now[end] = settled[0]!;
    now[BUFFER + end] = settled[1]!;
  }
  states.add(now[0]!, now[1]!, memories.first, now[3]!, now[4]!, 0, from);

  for (let state = 0; state < states.count; state++) {
    load(state);
    from = state;
    let moved = step(0);
    moved = step(1) || moved;
    const text = faultOf(moved);
    if (text !== undefined) {
      return { ...size(), fault: { text, steps: stepsTo(state) } };
    }
    if (states.count > STATES_MOST) throw new Error(`more than ${STATES_MOST} states`);
  }
  return size();

  function size(): Outcome {
    return { states: states.count, places: ends.map((end) => end.nodes) };
  }

  function stepsTo(last: number): string[] {
    const way = [last];
    for (let at = states.fromOf(last); at >= 0; at = states.fromOf(at)) way.unshift(at);
    return way.slice(1).flatMap((to, i) => BOTH.flatMap((end) => stepsBetween(way[i]!, to, end)));
  }

  function stepsBetween(before: number, after: number, index: number): string[] {
    const end = ends[index]!;
    const [was, is] = [states.at(before, index), states.at(after, index)];
    if (was === is) {
      const seen = buffers.contentOf(states.at(before, BUFFER + index));
      const left = buffers.contentOf(states.at(after, BUFFER + index));
      if (seen.length === left.length) return [];
      const store = memories.storeOf(seen[left.findIndex((one, i) => one !== seen[i])] ?? seen.at(-1)!);
      return [`${end.name}: ${nameOf(store.offset)} = ${store.value} becomes visible`];
    }
    const nodes = [is];
    while (nodes[0] !== was) nodes.unshift(end.parentOf(nodes[0]!));
    return nodes
      .slice(0, -1)
      .map((node, i) => `${end.name}: ${stepText(end.accessAt(node), end.answerOf(nodes[i + 1]!))}`);
  }

  function stepText(access: Access, answer: number | undefined): string {
    switch (access.kind) {
      case 'read':
        return `reads ${nameOf(access.offset)}: ${answer}`;
      case 'write':
      case 'store':
        return `${access.kind}s ${nameOf(access.offset)} = ${access.value}`;
      case 'wait':
        return 'wakes up';
      default:
        return `${access.kind}s`;
    }
  }
}
