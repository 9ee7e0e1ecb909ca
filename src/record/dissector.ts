import type { VirtioDevice } from '../virtio/device.js';
import { KNOWN_SHAPES } from './known-shapes.js';
import { PACKET_TYPES, PACKET_VERSION } from './packet.js';
import { shapeOf, shapeText } from './shape.js';

/** Short names of devices, for what can be filtered by. */
const NAMES: Readonly<Record<number, string>> = {
  1: 'net',
  2: 'blk',
  3: 'console',
  4: 'rng',
  5: 'balloon',
  18: 'input',
  45: 'test',
  70: 'misc',
};

/**
 * A dissector for Wireshark.
 *
 * @param template - `virtio-misc.lua`, whose lines of tables are filled in.
 * @param devices - that are known to it beside the standard ones.
 */
export function dissector(
  template: string,
  devices: readonly Pick<VirtioDevice, 'id' | 'name' | 'queues'>[],
): string {
  const names: Record<number, string> = { ...NAMES };
  const shapes: Record<number, Record<string, readonly [string, string]>> = {};
  for (const [id, queues] of Object.entries(KNOWN_SHAPES)) {
    const known = Object.entries(queues).map(
      ([name, { request = '', response = '' }]) => [name, [request, response]] as const,
    );
    shapes[Number(id)] = Object.fromEntries(known);
  }
  for (const { id, name, queues } of devices) {
    names[id] = word(name.replace(/^virtio-/, ''));
    const own = queues.flatMap(({ name, shape }) =>
      shape === undefined
        ? []
        : [
            [
              name.replace(/\d+$/, ''),
              [
                shapeText(shapeOf(shape.request)),
                shape.response === undefined ? '' : shapeText(shapeOf(shape.response)),
              ],
            ] as const,
          ],
    );
    shapes[id] = { ...shapes[id], ...Object.fromEntries(own) };
  }
  const tables = [
    `local VERSION = ${PACKET_VERSION}`,
    `local EVENTS = {${PACKET_TYPES.flatMap((type, number) => (type === undefined ? [] : `[${number}]=${lua(type)}`)).join(',')}}`,
    `local NAMES = {${Object.entries(names)
      .map(([id, name]) => `[${id}]=${lua(name)}`)
      .join(',')}}`,
    `local SHAPES = {\n${Object.entries(shapes)
      .map(([id, queues]) => `  [${id}]={${queueTable(queues)}},\n`)
      .join('')}}`,
  ];
  return template.replace('-- TABLES', () => tables.join('\n'));
}

function queueTable(queues: Readonly<Record<string, readonly [string, string]>>): string {
  return Object.entries(queues)
    .map(([name, [request, response]]) => `[${lua(name)}]={${lua(request)},${lua(response)}}`)
    .join(',');
}

/** A text as Lua has it, whatever is in it. */
function lua(text: string): string {
  const bytes = new TextEncoder().encode(text);
  let out = '';
  for (const byte of bytes)
    out +=
      byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c
        ? String.fromCharCode(byte)
        : `\\${byte.toString().padStart(3, '0')}`;
  return `"${out}"`;
}

function word(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9_]/g, '_') || 'device';
}
