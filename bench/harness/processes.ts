import { readdirSync, readFileSync } from 'node:fs';

/** A process, as the kernel tells of it. */
export interface Process {
  readonly pid: number;
  readonly parent: number;
  /** When it was started: those that came later have a larger one. */
  readonly began: number;
}

/** A process and all that it started, and those: the oldest first. */
export function family(pid: number): Process[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const known = all.flatMap((name) => look(Number(name)));
  const found = known.filter((each) => each.pid === pid);
  for (const { pid: parent } of found) found.push(...known.filter((each) => each.parent === parent));
  return found.sort((a, b) => a.began - b.began || a.pid - b.pid);
}

/** A variable of the environment that a process was started with. */
export function variableOf(pid: number, name: string): string | undefined {
  const all = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return all.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** ns that all threads of a process had a processor for; those of threads that ended are not in it, and of a process that ended there are none. */
export function processorTime(pid: number): number {
  let time = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      time += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    return 0;
  }
  return time;
}

/** KiB of memory: `resident`, and `share` of it, where what others have too is counted in part. */
export function memoryOf(pid: number): { readonly resident: number; readonly share: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const line = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)![1]);
  return { resident: line('Rss'), share: line('Pss') };
}

/** One that ended meanwhile is none. */
function look(pid: number): Process[] {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return [{ pid, parent: Number(fields[1]), began: Number(fields[19]) }];
  } catch {
    return [];
  }
}
