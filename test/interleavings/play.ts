import { MappedView } from '../../src/memory/mapped-view.js';
import type { Order } from './buffers.js';
import { End } from './end.js';
import { BYTES, drive, driverOf, type Scene, serve } from './ends.js';
import { explore, type Outcome } from './explore.js';
import { fieldsOf } from './fields.js';
import { type Plant, Run } from './run.js';

/** An end with something changed in it. */
export interface Planted {
  readonly driver?: Plant;
  readonly device?: Plant;
}

/** Tries every interleaving of a scene. @param device - the code of the device's end. */
export function play(
  scene: Scene,
  order: Order,
  planted: Planted = {},
  device: (scene: Scene, run: Run) => void = serve,
): Outcome {
  const nameOf = fieldsOf(scene);
  const buffer = new ArrayBuffer(BYTES);
  driverOf(scene, new MappedView(buffer));
  const image = new Uint8Array(buffer);
  const end = (name: 'driver' | 'device', code: (scene: Scene, run: Run) => void): End =>
    new End(name, (answers) =>
      new Run(image, answers, nameOf, planted[name] ?? {}, scene.byWords === true).all((run) =>
        code(scene, run),
      ),
    );
  return explore([end('driver', drive), end('device', device)], image, order, nameOf);
}
