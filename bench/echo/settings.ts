import { fileURLToPath } from 'node:url';
import type { BenchContext } from '../harness/bench.js';
import { serveCommand } from '../harness/serve-command.js';

/** us that the yardstick polls for, and the device that is told to. */
const POLL = 50;

const BY_HAND = fileURLToPath(new URL('./by-hand.js', import.meta.url));

export interface Contender {
  readonly name: string;
  readonly command: readonly string[];
  /** The text of each request is another one: what a text costs that was not the same in the request before. */
  readonly fresh?: boolean;
  /** It has a page of the inspector, which is open and read. */
  readonly page?: boolean;
  /** Each front-end has a process that is new, while one more is started. */
  readonly cold?: boolean;
  /** What it is compared with, if not with the first. */
  readonly beside?: string;
}

/** Where both ends run, and what the front-end does when nothing is there for it. */
export interface Setting {
  readonly title: string;
  readonly backend: number | undefined;
  readonly frontend: number | undefined;
  readonly waits: 'sleep' | 'spin';
  /** The first is what the others are compared with. */
  readonly contenders: readonly Contender[];
  /** What a request takes of a processor is told. */
  readonly timed?: boolean;
}

/** Who is measured, beside whom, and where. @param backend - the yardstick. */
export function settings(context: BenchContext, backend: string): Setting[] {
  const [first, second] = context.cpus;
  const apart = { backend: first, frontend: second ?? first, waits: 'sleep' } as const;
  if (context.record) return [{ title: 'recorded, a CPU for each end', ...apart, contenders: recorded() }];
  if (context.inspect) {
    const timed = { ...apart, timed: true } as const;
    return [
      { title: 'looked at, a CPU for each end', ...timed, contenders: inspected() },
      { title: 'looked at, kept, a CPU for each end', ...timed, contenders: inspectedKept() },
    ];
  }
  if (context.keeper) {
    const timed = { waits: 'sleep', timed: true, contenders: kept() } as const;
    const one: Setting = { title: 'kept, one CPU for both ends', backend: first, frontend: first, ...timed };
    if (second === undefined) return [{ ...one, title: 'kept, CPUs as they come' }];
    return [one, { title: 'kept, a CPU for each end', backend: first, frontend: second, ...timed }];
  }
  const sleeping: Contender[] = [
    { name: 'C', command: [backend, '0', 'elements'] },
    { name: 'C, fused', command: [backend, '0', 'fused'] },
    { name: 'by hand', command: serve(BY_HAND) },
    { name: 'structQueue', command: serve('test') },
  ];
  const fresh: Contender = { name: 'structQueue, fresh texts', command: serve('test'), fresh: true };
  const polling: Contender[] = [
    { name: `C, polls ${POLL} us`, command: [backend, String(POLL), 'elements'] },
    { name: 'by hand, --poll', command: serve(BY_HAND, '--poll') },
    { name: 'structQueue, --poll', command: serve('test', '--poll') },
    { name: `structQueue, --poll ${POLL}us`, command: serve('test', '--poll', `${POLL}us`) },
  ];
  const one: Setting = {
    title: first === undefined ? 'CPUs as they come' : 'one CPU for both ends',
    backend: first,
    frontend: first,
    waits: 'sleep',
    contenders: [...sleeping, fresh],
  };
  if (second === undefined) return [one];
  const two = { backend: first, frontend: second, contenders: [...polling, ...sleeping] };
  return [
    one,
    {
      title: 'one CPU for both ends, polling',
      backend: first,
      frontend: first,
      waits: 'sleep',
      contenders: polling,
    },
    { title: 'two CPUs, the front-end sleeps', waits: 'sleep', ...two },
    { title: 'two CPUs, the front-end never sleeps', waits: 'spin', ...two },
  ];
}

function recorded(): Contender[] {
  // The bytes go nowhere: writing them to a disk is another thread's work.
  const record = ['--record', '/dev/null'];
  return [
    { name: 'by hand', command: serve(BY_HAND) },
    { name: 'by hand, recorded', command: serve(BY_HAND, ...record) },
    { name: 'structQueue', command: serve('test') },
    { name: 'structQueue and its lines, recorded', command: serve('test', ...record) },
  ];
}

function inspected(): Contender[] {
  const looked = ['--inspect', '0'];
  return [
    { name: 'by hand', command: serve(BY_HAND) },
    { name: 'by hand, --inspect, nobody looks', command: serve(BY_HAND, ...looked) },
    { name: 'by hand, --inspect, a page is open', command: serve(BY_HAND, ...looked), page: true },
    { name: 'structQueue', command: serve('test'), beside: 'by hand' },
    // Without --inspect nobody hears of a line, and none is counted.
    {
      name: 'structQueue and its lines, nobody looks',
      command: serve('test', ...looked),
      beside: 'structQueue',
    },
    {
      name: 'structQueue and its lines, a page is open',
      command: serve('test', ...looked),
      beside: 'structQueue',
      page: true,
    },
  ];
}

/** The page is another process's. */
function inspectedKept(): Contender[] {
  const looked = ['--keeper', '--inspect', '0'];
  return [
    { name: 'by hand, kept', command: serve(BY_HAND, '--keeper') },
    {
      name: 'by hand, kept, a page is open',
      command: serve(BY_HAND, ...looked),
      beside: 'by hand, kept',
      page: true,
      cold: true,
    },
    { name: 'structQueue, kept', command: serve('test', '--keeper'), beside: 'by hand, kept' },
    {
      name: 'structQueue and its lines, kept, a page is open',
      command: serve('test', ...looked),
      beside: 'structQueue, kept',
      page: true,
      cold: true,
    },
  ];
}

function kept(): Contender[] {
  return [
    { name: 'by hand', command: serve(BY_HAND) },
    { name: 'by hand, kept', command: serve(BY_HAND, '--keeper'), beside: 'by hand' },
    { name: 'structQueue', command: serve('test'), beside: 'by hand' },
    { name: 'structQueue, kept', command: serve('test', '--keeper'), beside: 'structQueue' },
  ];
}

function serve(device: string, ...more: string[]): string[] {
  return serveCommand(device, ...more, '--vhost-user');
}
