import { PVIRTQ_DESC, PVIRTQ_DESC_SIZE, PVIRTQ_EVENT_SUPPRESS } from '../../src/virtqueue/packed/layout.js';
import {
  availEventOffset,
  usedEventOffset,
  VIRTQ_AVAIL,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
} from '../../src/virtqueue/split/layout.js';
import { BYTES, driverOf, type Scene, START } from './ends.js';

/** What each byte of the memory between two ends belongs to, by the specification's names. */
export function fieldsOf(scene: Scene): (offset: number) => string {
  const { queue, slots } = driverOf(scene);
  const names = new Array<string>(BYTES).fill('buffer or table');
  const put = (name: string, address: number, length: number): void => {
    names.fill(name, address - START, address - START + length);
  };
  const { descriptorArea, driverArea, deviceArea, size } = queue;
  if (scene.layout === 'packed') {
    for (let i = 0; i < size; i++) {
      const at = descriptorArea + PVIRTQ_DESC_SIZE * i;
      put('desc.addr', at, 8);
      put('desc.len', at + PVIRTQ_DESC.len, 4);
      put('desc.id', at + PVIRTQ_DESC.id, 2);
      put('desc.flags', at + PVIRTQ_DESC.flags, 2);
    }
    for (const [name, at] of [['driver', driverArea] as const, ['device', deviceArea] as const]) {
      put(`${name}.desc`, at + PVIRTQ_EVENT_SUPPRESS.desc, 2);
      put(`${name}.flags`, at + PVIRTQ_EVENT_SUPPRESS.flags, 2);
    }
  } else {
    put('desc', descriptorArea, 16 * size);
    put('avail.flags', driverArea + VIRTQ_AVAIL.flags, 2);
    put('avail.idx', driverArea + VIRTQ_AVAIL.idx, 2);
    put('avail.ring', driverArea + VIRTQ_AVAIL.ring, 2 * size);
    put('used_event', driverArea + usedEventOffset(size), 2);
    put('used.flags', deviceArea + VIRTQ_USED.flags, 2);
    put('used.idx', deviceArea + VIRTQ_USED.idx, 2);
    for (let i = 0; i < size; i++) {
      const at = deviceArea + VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * i;
      put('used.id', at + VIRTQ_USED_ELEM.id, 4);
      put('used.len', at + VIRTQ_USED_ELEM.len, 4);
    }
    put('avail_event', deviceArea + availEventOffset(size), 2);
  }
  for (const { request, answer } of slots) {
    put('request', request.address, request.length);
    put('answer', answer.address, answer.length);
  }
  return (offset) => names[offset]!;
}
