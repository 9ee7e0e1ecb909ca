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

/** The code of one end. */
export type Code = (scene: Scene, run: Run) => void;

/** Tries every interleaving of a scene. @param code - of the ends, where it is not that of plain loops. */
export function play(
  scene: Scene,
  order: Order,
  planted: Planted = {},
  code: { readonly driver?: Code; readonly device?: Code } = {},
): Outcome {
  const nameOf = fieldsOf(scene);
  const buffer = new ArrayBuffer(BYTES);
  driverOf(scene, new MappedView(buffer));
  const image = new Uint8Array(buffer);
  const end = (name: 'driver' | 'device', runs: Code): End =>
    new End(name, (answers) => {
      const run = new Run(image, answers, nameOf, planted[name] ?? {}, scene.byWords === true);
      return run.all(() => runs(scene, run));
    });
  return explore(
    [end('driver', code.driver ?? drive), end('device', code.device ?? serve)],
    image,
    order,
    nameOf,
  );
}
