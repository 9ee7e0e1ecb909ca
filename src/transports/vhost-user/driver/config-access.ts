import { TransportError } from '../../../virtio/driver-transport.js';
import { CONFIG, MAX_CONFIG_SIZE, PROTOCOL_F, REQUEST } from '../messages.js';
import * as payloads from '../payloads.js';
import type { BackendPeer } from './peer.js';

/*
 * The configuration space, as far as messages reach. Both reject with RangeError for a range outside of that, and TransportError `REFUSED` where the
 * back-end has none, or not so much.
 */

/** GET_CONFIG: one message, so never torn. */
export async function readConfig(peer: BackendPeer, offset: number, length: number): Promise<Uint8Array> {
  check(peer, offset, length);
  // From 0 on, because libvhost-user takes no notice of the offset.
  const size = offset + length;
  const request = payloads.encodeConfig({ offset: 0, size, flags: 0, bytes: new Uint8Array(size) });
  const reply = await peer.ask(REQUEST.GET_CONFIG, request, request.length);
  if (reply.byteLength === 0) {
    throw new TransportError('REFUSED', `the device has no ${size} bytes of configuration space`);
  }
  return new Uint8Array(reply.buffer.slice(CONFIG.payload + offset));
}

/** SET_CONFIG, and waits until it was dealt with. */
export async function writeConfig(peer: BackendPeer, offset: number, bytes: Uint8Array): Promise<void> {
  check(peer, offset, bytes.length);
  const access = { offset, size: bytes.length, flags: 0, bytes };
  await peer.command(REQUEST.SET_CONFIG, payloads.encodeConfig(access));
  await peer.settle();
}

function check(peer: BackendPeer, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= MAX_CONFIG_SIZE)) {
    throw new RangeError(
      `${length} bytes at ${offset} are not in the ${MAX_CONFIG_SIZE} that vhost-user can reach`,
    );
  }
  if (!peer.has(PROTOCOL_F.CONFIG)) {
    throw new TransportError('REFUSED', 'the back-end has no access to the configuration space');
  }
}
