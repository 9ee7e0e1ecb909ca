import { type DeviceHost, defineDevice, type VirtioDevice } from 'virtio-misc';

/** Bytes kept for a driver that posts no buffers for them; what comes after that is lost, as on a line that nobody reads. */
const MOST_WAITING = 64 * 1024;

/** virtio-console (VIRTIO 1.3 §5.3): one port, /dev/hvc0 in Linux, that sends back what it gets. */
const device: () => VirtioDevice = defineDevice(() => {
  let waiting = new Uint8Array();
  const deliver = ({ queues: [receiveq] }: DeviceHost): void => {
    while (waiting.length > 0) {
      const chain = receiveq!.pop();
      if (chain === undefined) return;
      waiting = waiting.subarray(chain.write(waiting, 0, Math.min(waiting.length, chain.writable)));
      receiveq!.push(chain);
    }
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
          const room = MOST_WAITING - waiting.length;
          if (chain.readable > room) device.warn(`${chain.readable - room} bytes that nobody reads are lost`);
          const sent = new Uint8Array(Math.min(chain.readable, room));
          chain.read(sent);
          waiting = Buffer.concat([waiting, sent]);
          deliver(device);
        },
      },
    ],
    reset() {
      waiting = new Uint8Array();
    },
    save: () => waiting,
    restore(state) {
      waiting = state as typeof waiting;
    },
  };
});

export default device;
