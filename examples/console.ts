import { type DeviceHost, defineDevice, type MemoryView, type VirtioDevice } from 'virtio-misc';

/** Bytes kept for a driver that posts no buffers for them; what comes after that is lost, as on a line that nobody reads. */
const MOST_WAITING = 64 * 1024;

/** What waits, in memory that outlives the process: how many bytes came, how many of them went back (le32 both), and the last of them, round and round. */
const CAME = 0;
const WENT = 4;
const BYTES = 8;

/** virtio-console (VIRTIO 1.3 §5.3): one port, /dev/hvc0 in Linux, that sends back what it gets. */
const device: () => VirtioDevice = defineDevice(() => {
  let memory: MemoryView;
  let saved = new Uint8Array();

  /** The bytes from one to another, both counted from the first that ever came. */
  const between = (from: number, to: number): Uint8Array => {
    const bytes = new Uint8Array((to - from) >>> 0);
    for (let i = 0; i < bytes.length; ) {
      const at = (from + i) % MOST_WAITING;
      const length = Math.min(bytes.length - i, MOST_WAITING - at);
      memory.copyOut(BYTES + at, bytes, i, length);
      i += length;
    }
    return bytes;
  };
  const append = (bytes: Uint8Array): void => {
    const came = memory.read32(CAME);
    for (let i = 0; i < bytes.length; ) {
      const at = (came + i) % MOST_WAITING;
      const length = Math.min(bytes.length - i, MOST_WAITING - at);
      memory.copyIn(BYTES + at, bytes, i, length);
      i += length;
    }
    // Last: until here none of them came.
    memory.write32(CAME, (came + bytes.length) >>> 0);
  };
  const deliver = ({ queues: [receiveq] }: DeviceHost): void => {
    const came = memory.read32(CAME);
    let went = memory.read32(WENT);
    while (went !== came) {
      const chain = receiveq!.pop();
      if (chain === undefined) break;
      went = (went + chain.write(between(went, came))) >>> 0;
      receiveq!.push(chain);
    }
    // The driver has them before they are forgotten: if this process dies in between they go twice, and are not lost.
    receiveq!.flush();
    memory.write32(WENT, went);
  };
  return {
    id: 3,
    name: 'virtio-console',
    queues: [
      // Its buffers stay in the queue until there is something to put into them.
      { name: 'receiveq', posted: deliver },
      {
        name: 'transmitq',
        handle(chain, device) {
          const room = MOST_WAITING - ((memory.read32(CAME) - memory.read32(WENT)) >>> 0);
          if (chain.readable > room) device.warn(`${chain.readable - room} bytes that nobody reads are lost`);
          const sent = new Uint8Array(Math.min(chain.readable, room));
          chain.read(sent);
          append(sent);
          deliver(device);
        },
      },
    ],
    activate({ durable }) {
      const { view, found } = durable('waiting', BYTES + MOST_WAITING);
      memory = view;
      if (!found) append(saved);
      saved = new Uint8Array();
    },
    // For another process, or another machine. Edited code finds what waits where it is.
    save: () => (memory === undefined ? saved : between(memory.read32(WENT), memory.read32(CAME))),
    restore(state) {
      saved = state as typeof saved;
    },
  };
});

export default device;
