import { printable } from '../lines/printable.js';
import type { InspectEvent, SeenDevice } from '../observe/event.js';
import { describeBytes } from '../virtio/describe-bytes.js';
import type { QueueSpec } from '../virtio/device.js';
import { featureBits } from '../virtio/features.js';

/** Characters that are shown of a text, which may be as long as a peer likes. */
const TEXT = 2000;

/** What an event says, in one line without its time. @param device - of its connection. */
export function eventLine(event: InspectEvent, device: SeenDevice | undefined): string {
  const where = 'name' in event && event.name !== undefined ? `${event.name}: ` : '';
  const line = `${where}${said(event, device)}`;
  return printable(line.length > TEXT ? `${line.slice(0, TEXT)}... (${line.length - TEXT} more)` : line);
}

function said(event: InspectEvent, device: SeenDevice | undefined): string {
  switch (event.type) {
    case 'connected':
      return `connected over ${event.transport} at ${event.socket}: ${deviceLine(event.device)}`;
    case 'replaced':
      return `replaced by edited code: ${deviceLine(event.device)}`;
    case 'gone':
      return event.error === undefined ? 'gone' : `gone: ${event.error}`;
    case 'features':
      return `features accepted ${bits(event.accepted)}, of ${bits(event.offered)}`;
    case 'status':
      return `status 0x${event.status.toString(16)} (${statusNames(event.status)})`;
    case 'running':
    case 'paused':
    case 'reset':
      return event.type;
    case 'rang':
      return 'an alarm rings';
    case 'queue-started': {
      const { packed, eventIdx, indirect, inOrder } = event;
      const how = Object.entries({ packed, eventIdx, indirect, inOrder }).flatMap(([name, is]) =>
        is ? name : [],
      );
      return `started with ${event.size} descriptors from ${event.base}${how.length > 0 ? ` (${how.join(', ')})` : ''}`;
    }
    case 'queue-stopped':
      return `stopped at ${event.base}`;
    case 'config-read':
      return `configuration read at ${event.offset}: ${describeBytes(event.bytes, event.bytes.length)}`;
    case 'config-written':
      return `configuration written at ${event.offset}: ${describeBytes(event.bytes, event.bytes.length)}`;
    case 'config-changed':
      return `configuration changed: ${describeBytes(event.bytes, event.bytes.length)}`;
    case 'available':
      return `${event.count} available${event.asked ? '' : ', no kick asked for'}`;
    case 'kicked':
      return 'kicked';
    case 'taken': {
      const request = describeBytes(event.bytes, event.readable, shapeOf(event, device)?.request);
      return `#${event.chain} taken: in ${event.readable} B${request && `: ${request}`}, room for ${event.writable} B`;
    }
    case 'used': {
      const response = describeBytes(event.bytes, event.written, shapeOf(event, device)?.response);
      const us = ((event.time - event.taken) / 1e3).toFixed(1);
      return `#${event.chain} used: out ${event.written} B${response && `: ${response}`} | ${us} us`;
    }
    case 'interrupted':
      return event.queue === undefined ? 'interrupted for the configuration' : 'interrupted';
    case 'interrupt-suppressed':
      return 'no interrupt, the driver wants none';
    case 'broken':
      return `broken: ${event.error}`;
    case 'line':
      return `prints: ${event.text}`;
    case 'warning':
      return `warns: ${event.text}`;
    case 'dropped':
      return `${event.count} events are missing here: there was no room for them`;
  }
}

/** What its queue carries. */
export function shapeOf(
  { queue }: { readonly queue: number },
  device: SeenDevice | undefined,
): QueueSpec['shape'] {
  return device?.queues[queue]?.shape;
}

function deviceLine({ id, name, queues }: SeenDevice): string {
  const shown = queues.slice(0, 4).map((queue) => queue.name);
  if (queues.length > 4) shown.push(`... (${queues.length} in all)`);
  return `${name} (id ${id}) with ${shown.join(', ') || 'no queue'}`;
}

function bits(mask: bigint): string {
  return `{${featureBits(mask).join(' ')}}`;
}

const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** The bits of a device's status (VIRTIO 1.3 §2.1) by their names: `ACKNOWLEDGE DRIVER`. */
export function statusNames(status: number): string {
  const names = Object.entries(STATUS).flatMap(([name, bit]) => ((status & bit) !== 0 ? name : []));
  return names.length === 0 ? 'reset' : names.join(' ');
}
