import { type DeviceHost, defineDevice } from 'virtio-misc';

/** Bytes kept for a driver that posts no buffers to receive into; what comes after that is lost, as on a line that nobody reads. */
const MOST_WAITING = 64 * 1024;

/** my-stream: a console (VIRTIO 1.3 §5.3) for the driver that Linux has, which says in capitals what it is told. */
export default defineDevice(() => {
  /** What the driver has no buffer for yet. */
  let waiting = new Uint8Array();

  const deliver = ({ queues }: DeviceHost): void => {
    while (waiting.length > 0) {
      const chain = queues[0]!.pop();
      if (chain === undefined) return;
      waiting = waiting.subarray(chain.write(waiting, 0, Math.min(waiting.length, chain.writable)));
      queues[0]!.push(chain);
    }
  };

  return {
    id: 3,
    name: 'my-stream',
    queues: [
      // To the guest. Its buffers stay in the queue until there is something to put into them.
      { name: 'receiveq', posted: deliver },
      // From the guest.
      {
        name: 'transmitq',
        handle(chain, device) {
          const bytes = new Uint8Array(Math.min(chain.readable, MOST_WAITING - waiting.length));
          chain.read(bytes);
          const text = new TextDecoder().decode(bytes);
          device.print(() => `my-stream: ${text.trimEnd()}`);
          const answer = new TextEncoder().encode(text.toUpperCase());
          const both = new Uint8Array(waiting.length + answer.length);
          both.set(waiting);
          both.set(answer, waiting.length);
          waiting = both;
          deliver(device);
        },
      },
    ],
    reset() {
      waiting = new Uint8Array();
    },
    // When this file is saved while a guest runs, the edited device goes on from here.
    save: () => waiting,
    restore(state) {
      waiting = state as typeof waiting;
    },
  };
});
