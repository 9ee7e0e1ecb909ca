import type { Connection } from '../connections.js';
import type { FromLookout, ToLookout } from '../inspector/lookout/lookout-frames.js';
import type { ReloadResult } from '../keeper/frames.js';
import type { Counted, Numbered } from './metrics.js';

/*
 * What a worker and the desk say to each other: where several processes serve a device, the desk is the one that counts, records and is asked for
 * all of them. In frames as those of the keeper.
 */

/** The environment variable that names the desk, in the process that is it and in those that have one. */
export const DESK_VARIABLE = 'VIRTIO_MISC_DESK';

/** What a desk is for, of a command's options: it has one if any is given. */
export interface DeskWork {
  readonly metrics?: unknown;
  readonly control?: unknown;
  readonly record?: unknown;
  readonly inspect?: unknown;
}

/** Whether there is any. */
export function wantsDesk({ metrics, control, record, inspect }: DeskWork): boolean {
  return [metrics, control, record, inspect].some((option) => option !== undefined);
}

/** A name for a desk, which no other has. */
export function newDeskName(): string {
  return `virtio-misc/desk/${crypto.randomUUID()}`;
}

/** The desk's name, as this process was told it; nobody that it starts is. */
export function deskName(): string | undefined {
  const name = process.env[DESK_VARIABLE];
  delete process.env[DESK_VARIABLE];
  return name;
}

export type FromDesk =
  /** Words of somebody's, for the device. */
  | { readonly say: 'ask'; readonly id: number; readonly words: readonly string[] }
  /** How much was counted so far? */
  | { readonly say: 'count' }
  /** So many bytes of what was recorded are in the file. */
  | { readonly say: 'written'; readonly size: number }
  /** What the inspector wants to see. */
  | { readonly say: 'lookout'; readonly to: ToLookout };

export type ToDesk =
  /** It has a front-end from now on. */
  | { readonly say: 'serving'; readonly device: string; readonly connection: Connection }
  /** And none any more. */
  | { readonly say: 'left' }
  | { readonly say: 'counted'; readonly counted: Counted }
  /** Whole blocks of a recording follow. */
  | { readonly say: 'recorded' }
  /** `unknown`: its device has no such control. */
  | {
      readonly say: 'answer';
      readonly id: number;
      readonly said?: string;
      readonly refused?: string;
      readonly unknown?: boolean;
    }
  /** What it saw for the inspector; a report follows. */
  | { readonly say: 'lookout'; readonly from: FromLookout };

/** What it tells the process that started it when it is there: lines to be said when the device can be reached. */
export interface FromDeskProcess {
  readonly lines: readonly string[];
}

/** What the process that started the desk tells it. */
export interface FromKeeperProcess {
  /** That front-end left. */
  readonly gone?: Numbered;
  /** The device's file was saved. */
  readonly reloaded?: ReloadResult;
}
