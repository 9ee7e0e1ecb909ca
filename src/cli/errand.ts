import { statSync } from 'node:fs';

/*
 * What a process that serves devices is asked to do by its user, who names one of its sockets or the process: over a unix socket that is in no file
 * system (unix(7), "abstract"), so that nothing is left of it. A request is a line of JSON, and so is its answer.
 */

export type Errand =
  | {
      readonly do: 'save';
      /** The identity of the socket's file, where one was named. */
      readonly socket?: string;
      readonly standing: boolean;
    }
  | { readonly do: 'upgrade' };

/** What became of it. With what was saved comes a descriptor of memory with so many bytes. */
export type Answer = { readonly said: string; readonly size?: number } | { readonly refused: string };

/** The name at which a process is asked. */
export function nameOfProcess(pid: number): string {
  return `virtio-misc/process/${pid}`;
}

/** The name at which the process is asked that listens at a socket. */
export function nameOfSocket(identity: string): string {
  return `virtio-misc/socket/${identity}`;
}

/** Which file is there, however its path is written, and its owner; `undefined` for none. */
export function fileAt(path: string): { readonly identity: string; readonly uid: number } | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && { identity: `${stat.dev}:${stat.ino}`, uid: Number(stat.uid) };
}
