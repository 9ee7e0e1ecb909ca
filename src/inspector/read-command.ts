import { CommandError } from './command-error.js';
import type { BreakpointOn, Command } from './protocol.js';

/** Rings that one page sees at a time, and chains of one step. */
const RINGS = 8;
const STEPS = 1000;
/** Numbers of connections, queues, breakpoints. */
const NUMBER = 0xffff_ffff;

type Json = Record<string, unknown>;

/**
 * What a page asks for, looked at before it is believed.
 *
 * @throws CommandError with one line for people.
 */
export function readCommand(text: string): Command {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new CommandError('a command is JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new CommandError('a command is an object');
  const fields = json as Json;
  switch (fields.command) {
    case 'view':
      return { command: 'view', client: whole(fields, 'client'), rings: ringsOf(fields.rings) };
    case 'hold':
      return { command: 'hold', connection: whole(fields, 'connection'), ...optional(fields, 'queue') };
    case 'step': {
      const chains = fields.chains === undefined ? 1 : whole(fields, 'chains', 1, STEPS);
      return {
        command: 'step',
        connection: whole(fields, 'connection'),
        queue: whole(fields, 'queue'),
        chains,
      };
    }
    case 'release':
      return { command: 'release', ...optional(fields, 'connection'), ...optional(fields, 'queue') };
    case 'break': {
      const { queue } = fields;
      if (queue !== undefined && typeof queue !== 'string')
        throw new CommandError('queue: take the name of a queue');
      const named = queue === undefined ? {} : { queue };
      return { command: 'break', ...optional(fields, 'connection'), ...named, on: onOf(fields.on) };
    }
    case 'enable':
      if (typeof fields.enabled !== 'boolean') throw new CommandError('enabled: take true or false');
      return { command: 'enable', breakpoint: whole(fields, 'breakpoint'), enabled: fields.enabled };
    case 'unbreak':
      return { command: 'unbreak', breakpoint: whole(fields, 'breakpoint') };
    default:
      throw new CommandError('command: take view, hold, step, release, break, enable or unbreak');
  }
}

function whole(fields: Json, name: string, least = 0, most: number = NUMBER): number {
  const value = fields[name];
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
    throw new CommandError(`${name}: take a number from ${least} to ${most}`);
  return value as number;
}

function optional<N extends string>(fields: Json, name: N): { readonly [K in N]?: number } {
  if (fields[name] === undefined) return {};
  return { [name]: whole(fields, name) } as { readonly [K in N]?: number };
}

function ringsOf(rings: unknown): { connection: number; queue: number }[] {
  if (!Array.isArray(rings) || rings.length > RINGS)
    throw new CommandError(`rings: take a list of ${RINGS} at most`);
  return rings.map((ring: unknown) => {
    if (typeof ring !== 'object' || ring === null)
      throw new CommandError('rings: take { connection, queue }');
    return { connection: whole(ring as Json, 'connection'), queue: whole(ring as Json, 'queue') };
  });
}

function onOf(on: unknown): BreakpointOn {
  const fields = (typeof on === 'object' && on !== null ? on : {}) as Json;
  const { kind, when, from } = fields;
  if (kind === 'any' || kind === 'broken') return { kind };
  if (kind === 'when') {
    if (typeof when !== 'string') throw new CommandError('when: take a text such as type == 77');
    return { kind, when };
  }
  if (kind === 'chain') {
    const n = whole(fields, 'n', 1, Number.MAX_SAFE_INTEGER);
    if (from !== undefined && from !== 'start' && from !== 'now')
      throw new CommandError('from: take start or now');
    return from === undefined ? { kind, n } : { kind, n, from };
  }
  throw new CommandError('on: take any, when, broken or chain');
}
