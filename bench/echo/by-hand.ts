import { ConfigSpace, type VirtioDevice } from 'virtio-misc';

const REQUEST = 48;
const RESPONSE = 12;

/** virtio-test's answers without the author's layer: what a device costs that is written against `VirtioDevice` itself. */
export default function byHand(): VirtioDevice {
  const request = new Uint8Array(REQUEST);
  const response = new Uint8Array(RESPONSE);
  const asked = new Int32Array(request.buffer);
  const answer = new Int32Array(response.buffer);
  return {
    id: 45,
    name: 'echo-by-hand',
    features: 1n,
    queues: [{ name: 'requestq', size: 128 }],
    config: new ConfigSpace(0),
    queueNotified(queue) {
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        if (chain.read(request) === REQUEST) {
          answer[0] = asked[1]! + 100;
          answer[1] = asked[2]! + 100;
          answer[2] = asked[3]! + 100;
          chain.write(response);
        }
        queue.push(chain);
      }
    },
  };
}
