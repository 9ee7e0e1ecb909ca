import type { ChainDetail, Command, CommandAnswer, TimelineAnswer } from '../../protocol.js';

/** The server said no; the message is for people. */
export class Refused extends Error {}

async function answered<Answer>(request: Promise<Response>): Promise<Answer> {
  let answer: Response;
  try {
    answer = await request;
  } catch {
    throw new Refused('The server does not answer.');
  }
  if (answer.ok) return (await answer.json()) as Answer;
  const said = (await answer.json().catch(() => ({}))) as { error?: string };
  throw new Refused(said.error ?? `The server answered ${answer.status}.`);
}

function query(values: Readonly<Record<string, string | number | undefined>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== undefined) search.set(name, String(value));
  return search.toString();
}

/** @throws Refused */
export function command(what: Command): Promise<CommandAnswer> {
  const headers = { 'content-type': 'application/json' };
  return answered(fetch('api/command', { method: 'POST', headers, body: JSON.stringify(what) }));
}

/** What is kept of a stretch of time. @throws Refused */
export function timeline(of: {
  readonly source: string;
  readonly connection: number;
  readonly from: number;
  readonly to: number;
  readonly limit: number;
}): Promise<TimelineAnswer> {
  const { from, to } = of;
  return answered(fetch(`api/timeline?${query({ ...of, from: Math.floor(from), to: Math.ceil(to) })}`));
}

/** All about one chain. @throws Refused */
export function chain(of: {
  readonly source: string;
  readonly connection: number;
  readonly queue: number;
  readonly id: number;
}): Promise<ChainDetail> {
  return answered(fetch(`api/chain?${query(of)}`));
}

/** Has the server read a recording. @returns its source. @throws Refused */
export async function recording(file: File): Promise<string> {
  const headers = { 'content-type': 'application/octet-stream' };
  const request = fetch(`api/recording?${query({ name: file.name })}`, {
    method: 'POST',
    headers,
    body: file,
  });
  return (await answered<{ source: string }>(request)).source;
}
