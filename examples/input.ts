import {
  bytes,
  type DeviceHost,
  defineDevice,
  le16,
  le32,
  type MemoryView,
  struct,
  structQueue,
  u8,
  type VirtioDevice,
} from 'virtio-misc';

// Linux's include/uapi/linux/input-event-codes.h, which the device's events are made of.
const EV_SYN = 0x00;
const EV_KEY = 0x01;
const EV_LED = 0x11;
const LED_CAPSL = 1;
const KEY_LEFTSHIFT = 42;
const BUS_VIRTUAL = 6;

// VIRTIO 1.3 §5.8.4: what the driver may ask for through the configuration space.
const VIRTIO_INPUT_CFG_ID_NAME = 0x01;
const VIRTIO_INPUT_CFG_ID_DEVIDS = 0x03;
const VIRTIO_INPUT_CFG_EV_BITS = 0x11;

const Config = struct({ select: u8, subsel: u8, size: u8, reserved: bytes(5), u: bytes(128) });
const Ids = struct({ bustype: le16, vendor: le16, product: le16, version: le16 });
const Event = struct({ type: le16, code: le16, value: le32 });

/** A US keyboard: the first key code of each row, its characters, and those with shift. */
const ROWS = [
  [2, '1234567890-=', '!@#$%^&*()_+'],
  [16, 'qwertyuiop[]\n', 'QWERTYUIOP{}'],
  [30, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [43, '\\zxcvbnm,./', '|ZXCVBNM<>?'],
  [57, ' ', ''],
] as const;
const KEYS = new Map<string, { code: number; shift: boolean }>();
for (const [first, plain, shifted] of ROWS) {
  for (const [at, character] of [...plain].entries()) KEYS.set(character, { code: first + at, shift: false });
  for (const [at, character] of [...shifted].entries())
    KEYS.set(character, { code: first + at, shift: true });
}

const CODES = [...new Set([KEY_LEFTSHIFT, ...[...KEYS.values()].map(({ code }) => code)])];
/** The events that let all keys go. */
const LET_GO = [...CODES.map((code) => ({ type: EV_KEY, code })), { type: EV_SYN }].map(Event.encode, Event);

/** What `keyboard` makes. */
export interface KeyboardOptions {
  /** What it types, over and over, each time with Enter at the end. */
  readonly sentence?: string | undefined;
  /** Milliseconds from one movement of a key to the next. */
  readonly every?: number;
}

/**
 * virtio-input (VIRTIO 1.3 §5.8): a keyboard on which somebody types. It prints when the guest switches its caps lock lamp.
 *
 * @throws RangeError when a character is not on the keyboard.
 */
export function keyboard({
  sentence = 'Hello from TypeScript!',
  every = 20,
}: KeyboardOptions = {}): () => VirtioDevice {
  const movements = [...sentence, '\n'].flatMap(movementsOf);
  return defineDevice(() => {
    /** Which movement is next, in memory that outlives the process (le32): a key that went down must come up. */
    let next: MemoryView;
    let edited = false;
    /** Events that the driver had no buffer for yet. */
    let waiting: Uint8Array[] = [];
    const deliver = ({ queues: [eventq] }: DeviceHost): void => {
      while (waiting.length > 0) {
        const chain = eventq!.pop();
        if (chain === undefined) return;
        chain.write(waiting.shift()!);
        eventq!.push(chain);
        if (waiting.length > 0) continue;
        // Not before the driver has it: who dies in between makes it twice, which is no other movement.
        eventq!.flush();
        next.write32(0, (next.read32(0) + 1) % movements.length);
      }
    };
    return {
      id: 18,
      name: 'virtio-input',
      config: { struct: Config, writable: ['select', 'subsel'] },
      queues: [
        { name: 'eventq', size: 64, posted: deliver },
        structQueue({
          name: 'statusq',
          size: 64,
          request: Event,
          handle({ type, code, value }, { print }): undefined {
            if (type === EV_LED && code === LED_CAPSL) print(`caps lock is ${value === 0 ? 'off' : 'on'}`);
          },
        }),
      ],
      configWritten({ config }) {
        const answer = describe(config.select, config.subsel);
        config.size = answer.length;
        config.u = answer;
      },
      activate(device) {
        next = device.durable('movement', 4).view;
        // That all keys are let go is in the place of the last one.
        if (edited || next.read32(0) >= movements.length) next.write32(0, edited ? movements.length - 1 : 0);
        const alarm = device.clock.alarm(() => {
          // Nobody who does not listen is talked to: the keys rest until the driver has taken what there is.
          if (waiting.length === 0) waiting = movements[next.read32(0)]!.map(Event.encode, Event);
          deliver(device);
          alarm.set(device.clock.now() + every * 1e6);
        });
        alarm.set(device.clock.now() + every * 1e6);
      },
      reset() {
        edited = false;
        waiting = [];
      },
      save: () => waiting,
      restore(state) {
        // Which keys are down only the code before this one knew.
        waiting = [...(state as Uint8Array[]), ...LET_GO];
        edited = true;
      },
    };
  });
}

/** The events of each movement on the way to a character: a key goes down or up, and then that is all for now (EV_SYN). */
function movementsOf(character: string): { type: number; code: number; value: number }[][] {
  const key = KEYS.get(character);
  if (key === undefined) throw new RangeError(`there is no key for '${character}'`);
  const move = (code: number, value: number): { type: number; code: number; value: number }[] => [
    { type: EV_KEY, code, value },
    { type: EV_SYN, code: 0, value: 0 },
  ];
  const press = [move(key.code, 1), move(key.code, 0)];
  return key.shift ? [move(KEY_LEFTSHIFT, 1), ...press, move(KEY_LEFTSHIFT, 0)] : press;
}

/** The answer to a question of the driver's; empty when there is nothing to say (§5.8.5.1). */
function describe(select: number, subsel: number): Uint8Array {
  if (select === VIRTIO_INPUT_CFG_EV_BITS) {
    if (subsel === EV_KEY) return bitmap(CODES);
    return subsel === EV_LED ? bitmap([LED_CAPSL]) : new Uint8Array();
  }
  if (subsel !== 0) return new Uint8Array();
  if (select === VIRTIO_INPUT_CFG_ID_NAME) return new TextEncoder().encode('virtio-misc keyboard');
  if (select === VIRTIO_INPUT_CFG_ID_DEVIDS) return Ids.encode({ bustype: BUS_VIRTUAL, version: 1 });
  return new Uint8Array();
}

function bitmap(bits: readonly number[]): Uint8Array {
  const map = new Uint8Array((Math.max(...bits) >> 3) + 1);
  for (const bit of bits) map[bit >> 3]! |= 1 << (bit & 7);
  return map;
}

const device: () => VirtioDevice = keyboard({ sentence: process.env.SENTENCE });
export default device;
