import type { InspectEvent } from '../../observe/event.js';
import { Observer } from '../../observe/observer.js';
import type { MakeDevice } from '../../virtio/make-device.js';
import { DeviceBench } from '../../virtio/testing/device-bench.js';
import { Recorder } from '../recorder.js';
import { RecordingReader } from '../recording-reader.js';

/** What a device does on a bench, as a recording of it has it. @param work - what its driver does. */
export async function recordBench(
  make: MakeDevice,
  work: (bench: DeviceBench) => Promise<void> | void,
): Promise<InspectEvent[]> {
  const pieces: Uint8Array[] = [];
  const recorder = new Recorder({ write: (blocks) => pieces.push(blocks) > 0 }, 'a test', () => 1e12);
  const device = make();
  let now = (): number => 0;
  const where = { connection: 1, socket: '/s', transport: 'bench' };
  const monitor = new Observer(device, where, [recorder.listener(1 << 20)], () => now());
  const bench = new DeviceBench(device, { monitor });
  now = () => bench.clock.now();
  await work(bench);
  monitor.gone();
  recorder.flush();
  const reader = new RecordingReader();
  for (const piece of pieces) reader.push(piece);
  const events: InspectEvent[] = [];
  for (let event = reader.next(); event !== undefined; event = reader.next()) events.push(event);
  return events;
}
