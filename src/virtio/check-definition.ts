import { known } from './check-options.js';
import { described } from './described.js';
import { isDeviceFeature } from './features.js';
import { didYouMean } from './nearest.js';
import { SHARED_MEMORY_PAGE } from './shared-memory.js';
import { Struct } from './struct.js';

const DEFINITION = [
  'id',
  'name',
  'features',
  'config',
  'queues',
  'checkAnswers',
  'controls',
  'sharedMemory',
  'activate',
  'configWritten',
  'reset',
  'save',
  'restore',
  'replaced',
  'close',
] as const;
const HOOKS = ['activate', 'configWritten', 'reset', 'save', 'restore', 'replaced', 'close'] as const;
const CONFIG = ['struct', 'initial', 'writable'] as const;
const QUEUE = ['name', 'size', 'sizeLimit', 'handle', 'posted', 'stopping', 'shape'] as const;
const STRUCT_QUEUE = ['request', 'response'];
const GROUP = ['upTo', 'queues'] as const;

/** The virtio id is 16 bits of a PCI subsystem id, and 0 is none (VIRTIO 1.3 §5). */
const MOST_ID = 0xffff;
/** What PCI's registers and QEMU have room for. */
const MOST_QUEUES = 1024;
/** Bytes of a region of shared memory: no processor has more room for BARs. */
const MOST_SHARED = 2 ** 40;

/**
 * Looks whether a definition can be meant.
 *
 * @throws TypeError for what is unknown, missing or of another type; RangeError for what is out of range. The message says where.
 */
export function checkDefinition(definition: unknown): void {
  const given = object(definition, 'the definition of a device', 'an object');
  const where = typeof given.name === 'string' ? `device ${given.name}` : 'the device';
  known(given, DEFINITION, where);
  if (given.id === undefined)
    throw new TypeError(`${where} has no id: take that of VIRTIO §5, or a free one such as 60`);
  if (!(Number.isInteger(given.id) && (given.id as number) >= 1 && (given.id as number) <= MOST_ID))
    throw new RangeError(
      `${where} has ${described(given.id)} for its id: take a whole number from 1 to ${MOST_ID}`,
    );
  if (typeof given.name !== 'string' || given.name === '')
    throw new TypeError(
      `${where} has ${described(given.name)} for its name: take a text such as 'virtio-rng'`,
    );
  functions(given, HOOKS, where);
  checkFeatures(given.features, where);
  checkConfig(given.config, where);
  if (given.checkAnswers !== undefined && typeof given.checkAnswers !== 'boolean')
    throw new TypeError(`${where} has ${described(given.checkAnswers)} for checkAnswers: take true or false`);
  checkControls(given.controls, where);
  checkSharedMemory(given.sharedMemory, where);
  if (!Array.isArray(given.queues)) {
    const what =
      given.queues === undefined ? 'has no queues' : `has ${described(given.queues)} for its queues`;
    throw new TypeError(`${where} ${what}: take a list, as in queues: [{ name: 'requestq', ... }]`);
  }
  checkQueues(given.queues, where);
}

function checkFeatures(features: unknown, where: string): void {
  if (features === undefined) return;
  const named = new Map<number, string>();
  for (const [name, bit] of Object.entries(object(features, `${where}: features`, 'names with their bits'))) {
    if (!isDeviceFeature(bit as number))
      throw new RangeError(
        `feature ${name} has bit ${bit}: a device's own are 0-23 and 50-127 (VIRTIO §2.2)`,
      );
    const other = named.get(bit as number);
    if (other !== undefined) throw new RangeError(`features ${other} and ${name} have the same bit ${bit}`);
    named.set(bit as number, name);
  }
}

function checkConfig(given: unknown, where: string): void {
  if (given === undefined) return;
  const config = object(given, `${where}: config`, '{ struct, initial, writable }');
  known(config, CONFIG, `${where}: config`);
  const { struct, initial = {}, writable = [] } = config;
  if (!(struct instanceof Struct))
    throw new TypeError(
      `${where}: config has ${described(struct)} for its struct: take what struct({...}) returns`,
    );
  if (struct.most !== struct.size)
    throw new RangeError(`${where}: a configuration space is of one length, and its struct ends in a tail`);
  const names = Object.keys(struct.offsets);
  const values = object(initial, `${where}: config.initial`, 'values by field');
  if (!Array.isArray(writable))
    throw new TypeError(`${where}: config has ${described(writable)} for writable: take a list of fields`);
  for (const name of [...Object.keys(values), ...writable.map(String)]) {
    if (!names.includes(name))
      throw new RangeError(`the configuration space has no field ${name}${didYouMean(name, names)}`);
  }
}

function checkSharedMemory(given: unknown, where: string): void {
  if (given === undefined) return;
  if (!Array.isArray(given))
    throw new TypeError(
      `${where} has ${described(given)} for sharedMemory: take a list, as in sharedMemory: [{ id: 0, size: 4096 }]`,
    );
  const ids = new Set<unknown>();
  for (const [index, entry] of given.entries()) {
    const place = `${where}: sharedMemory[${index}]`;
    const region = object(entry, place, 'such as { id: 0, size: 4096 }');
    known(region, ['id', 'size', 'files'], place);
    const { id, size, files } = region;
    if (!(Number.isInteger(id) && (id as number) >= 0 && (id as number) <= 255))
      throw new RangeError(`${place} has ${described(id)} for its id: take a whole number from 0 to 255`);
    if (ids.has(id)) throw new RangeError(`two regions of shared memory have the id ${id}`);
    ids.add(id);
    const pages = (size as number) / SHARED_MEMORY_PAGE;
    if (!(Number.isInteger(pages) && pages > 0 && (size as number) <= MOST_SHARED))
      throw new RangeError(
        `${place} has ${described(size)} for its size: take a multiple of ${SHARED_MEMORY_PAGE}, at most 2 ** 40`,
      );
    if (files !== undefined && typeof files !== 'boolean')
      throw new TypeError(`${place} has ${described(files)} for files: take true or false`);
  }
}

function checkControls(given: unknown, where: string): void {
  if (given === undefined) return;
  for (const [name, control] of Object.entries(object(given, `${where}: controls`, 'controls by name'))) {
    const place = `${where}: control ${name}`;
    if (!/^[a-z][\w-]*$/i.test(name)) throw new RangeError(`${place} has no word for its name`);
    const parts = object(control, place, 'what control(help, parameters, run) returns');
    known(parts, ['help', 'parameters', 'run'], place);
    if (typeof parts.run !== 'function' || typeof parts.help !== 'string' || parts.parameters === undefined)
      throw new TypeError(`${place}: take what control(help, parameters, run) returns`);
  }
}

function checkQueues(entries: readonly unknown[], where: string): void {
  const names = new Set<string>();
  let count = 0;
  for (const [index, entry] of entries.entries()) {
    const place = `${where}: queues[${index}]`;
    const given = object(entry, place, "such as { name: 'requestq' }");
    if (!('upTo' in given)) {
      checkQueue(given, place, names);
      count += 1;
      continue;
    }
    known(given, GROUP, place);
    const { upTo, queues } = given;
    if (!(Number.isInteger(upTo) && (upTo as number) >= 1 && (upTo as number) <= MOST_QUEUES))
      throw new RangeError(
        `${place}: upTo is ${described(upTo)}: take a number of queues from 1 to ${MOST_QUEUES}`,
      );
    if (!Array.isArray(queues))
      throw new TypeError(`${place} has ${described(queues)} for its queues: take a list`);
    for (const [inner, queue] of queues.entries()) {
      const within = `${place}.queues[${inner}]`;
      checkQueue(object(queue, within, "such as { name: 'requestq' }"), within, names);
    }
    count += (upTo as number) * queues.length;
  }
  if (count > MOST_QUEUES)
    throw new RangeError(`the device has ${count} queues: ${MOST_QUEUES} are the most`);
}

function checkQueue(queue: Readonly<Record<string, unknown>>, place: string, names: Set<string>): void {
  const { name, size = 1, sizeLimit } = queue;
  if (typeof name !== 'string' || name === '')
    throw new TypeError(`${place} has ${described(name)} for its name: take a text such as 'requestq'`);
  const where = `${place} (${name})`;
  const structs = STRUCT_QUEUE.find((key) => key in queue);
  if (structs !== undefined)
    throw new TypeError(
      `${where} has a ${structs}, which only structQueue takes: write structQueue({ name: '${name}', ... })`,
    );
  known(queue, QUEUE, where);
  functions(queue, ['handle', 'posted', 'stopping'], where);
  if (queue.handle !== undefined && queue.posted !== undefined)
    throw new TypeError(
      `${where} has handle and posted: of a queue with handle, no buffers wait to be told of`,
    );
  if (names.has(name)) throw new RangeError(`two queues are called ${name}`);
  if (name in Array.prototype || /^\d+$/.test(name))
    throw new RangeError(`a queue can't be called ${name}: device.queues.${name} is something else`);
  names.add(name);
  checkSize(name, size);
  if (sizeLimit !== undefined) checkSize(name, sizeLimit);
}

function checkSize(name: string, size: unknown): void {
  if (typeof size === 'number' && size >= 1 && size <= 32768 && Number.isInteger(Math.log2(size))) return;
  throw new RangeError(`queue ${name} has size ${size}: take a power of two up to 32768 (VIRTIO §2.7)`);
}

function object(given: unknown, where: string, wanted: string): Readonly<Record<string, unknown>> {
  if (typeof given === 'object' && given !== null && !Array.isArray(given))
    return given as Readonly<Record<string, unknown>>;
  throw new TypeError(`${where} is ${described(given)}: take ${wanted}`);
}

function functions(given: Readonly<Record<string, unknown>>, keys: readonly string[], where: string): void {
  for (const key of keys) {
    if (given[key] !== undefined && typeof given[key] !== 'function')
      throw new TypeError(`${where} has ${described(given[key])} for ${key}: take a function`);
  }
}
