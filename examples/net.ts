import { randomBytes } from 'node:crypto';
import {
  bytes,
  type Chain,
  type DeviceHost,
  defineDevice,
  le16,
  struct,
  type VirtioDevice,
} from 'virtio-misc';

// VIRTIO 1.3 §5.1.4.
const Config = struct({ mac: bytes(6), status: le16 });
const VIRTIO_NET_S_LINK_UP = 1;

/** `struct virtio_net_hdr` before each frame (§5.1.6): of it, all that means anything here is `num_buffers` at 10, which is 1. */
const HEADER_SIZE = 12;
const NUM_BUFFERS = 10;
/** Two addresses and a type; those, a VLAN tag and 1500 bytes. */
const FRAME_LEAST = 14;
const FRAME_MOST = 1518;
const ADDRESS_SIZE = 6;

/** Who is on a hub. */
export type Hub = Set<DeviceHost>;

interface Saved {
  readonly hub: Hub;
  readonly mac: Uint8Array;
}

/**
 * virtio-net (VIRTIO 1.3 §5.1): a port of a hub. What one front-end's driver sends, all others on the hub get, as far as they posted
 * buffers for it. A driver that is alone gets its own frames back, from whom they were for.
 *
 * @param shared - the hub. All front-ends of what this returns are on one of their own unless told.
 */
export function net(shared: Hub = new Set()): () => VirtioDevice {
  return defineDevice(() => {
    let hub = shared;
    // Locally administered.
    let mac: Uint8Array = Uint8Array.of(0x02, ...randomBytes(ADDRESS_SIZE - 1));
    let port: DeviceHost | undefined;
    const leave = (): void => {
      if (port !== undefined) hub.delete(port);
      port = undefined;
    };
    return {
      id: 1,
      name: 'virtio-net',
      features: { MAC: 5, STATUS: 16 },
      config: { struct: Config, initial: { mac, status: VIRTIO_NET_S_LINK_UP } },
      queues: [
        // Its buffers stay in the queue until there is a frame for them.
        { name: 'receiveq1' },
        { name: 'transmitq1', handle: (chain, device) => send(hub, device, chain) },
      ],
      activate(device) {
        device.config.mac = mac;
        port = device;
        hub.add(port);
      },
      reset: leave,
      close: leave,
      save: (): Saved => ({ hub, mac }),
      restore(state) {
        ({ hub, mac } = state as Saved);
      },
    };
  });
}

const frame = new Uint8Array(HEADER_SIZE + FRAME_MOST);

/** Passes on what a driver sent. A frame that can't be one is lost, as on any net. */
function send(hub: Hub, from: DeviceHost, chain: Chain): void {
  const length = chain.readable;
  if (length < HEADER_SIZE + FRAME_LEAST || length > frame.length) return;
  chain.read(frame, 0, length);
  frame.fill(0, 0, HEADER_SIZE);
  frame[NUM_BUFFERS] = 1;
  if (hub.size > 1) {
    for (const port of hub) if (port !== from) deliver(port, length);
    return;
  }
  const destination = frame.slice(HEADER_SIZE, HEADER_SIZE + ADDRESS_SIZE);
  frame.copyWithin(HEADER_SIZE, HEADER_SIZE + ADDRESS_SIZE, HEADER_SIZE + 2 * ADDRESS_SIZE);
  frame.set(destination, HEADER_SIZE + ADDRESS_SIZE);
  deliver(from, length);
}

/** Ports that were given frames, and have not been told yet. */
const untold: Hub = new Set();

function deliver(port: DeviceHost, length: number): void {
  const receiveq = port.queues[0]!;
  const chain = receiveq.pop();
  if (chain === undefined) return;
  try {
    // §5.1.6.3.1: room for any frame, or the driver broke its word.
    if (chain.writable >= length) chain.write(frame, 0, length);
    receiveq.push(chain);
  } catch (error) {
    // The receiver's memory is gone: that is not the sender's fault.
    receiveq.fail(error as Error);
    return;
  }
  // Another's queue is not flushed when this driver's requests are done; once for all of them will do.
  if (untold.size === 0) {
    queueMicrotask(() => {
      for (const { queues } of untold) queues[0]!.flush();
      untold.clear();
    });
  }
  untold.add(port);
}

const device: () => VirtioDevice = net();
export default device;
