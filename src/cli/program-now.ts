import { accessSync, constants } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { KEEPER_VARIABLE } from '../keeper/frames.js';
import type { WorkerCommand } from '../keeper/keeper/worker-process.js';

/** This process's Node, as it was started: a path, or a word that was looked up. */
const NODE = process.argv0.includes('/') ? resolve(process.argv0) : process.argv0;

/** This program as it was started, to be started again with the same arguments, as workers are. */
export function programAsStarted(): WorkerCommand {
  return commandOf(process.execPath);
}

/** The same as it is now on disk: links may lead to another version of it, and another Node may be the first that is found. */
export function programNow(): WorkerCommand {
  return commandOf(nodeNow());
}

function commandOf(program: string): WorkerCommand {
  // The path of the program is as it was written: it is looked up each time.
  return { program, args: [...process.execArgv, ...process.argv.slice(1)], variable: KEEPER_VARIABLE };
}

function nodeNow(): string {
  if (NODE.includes('/')) return runs(NODE) ? NODE : process.execPath;
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  return folders.map((folder) => join(folder, NODE)).find(runs) ?? process.execPath;
}

function runs(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
