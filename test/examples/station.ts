import { type Hub, net } from '../../examples/net.js';
import { type Driver, loopback, openDriver } from '../../src/index.js';

const HEADER_SIZE = 12;
const ARP = 0x0806;
const IPV4 = 0x0800;
const ICMP = 1;

/** A host on the hub of the net example, in this process: it answers ARP and pings for one address. */
export class Station {
  /** Pings that it answered. */
  pings = 0;
  readonly #driver: Driver;
  readonly #mac: Uint8Array;
  readonly #ip: Uint8Array;

  /** @param ip - four bytes. */
  static async join(hub: Hub, ip: Uint8Array): Promise<Station> {
    const driver = await openDriver(loopback(net(hub)()), { id: 1, features: 1n << 5n, queues: 2 });
    return new Station(driver, (await driver.readConfig(0, 6)).slice(), ip);
  }

  private constructor(driver: Driver, mac: Uint8Array, ip: Uint8Array) {
    this.#driver = driver;
    this.#mac = mac;
    this.#ip = ip;
    for (let i = 0; i < this.#driver.queues[0]!.size; i++) this.#listen();
  }

  close(): Promise<void> {
    return this.#driver.close();
  }

  #listen(): void {
    this.#driver.queues[0]!.post(HEADER_SIZE + 1518, (written) => {
      const answer = this.#answer(written.slice(HEADER_SIZE));
      if (answer !== undefined) {
        const frame = new Uint8Array(HEADER_SIZE + answer.length);
        frame.set(answer, HEADER_SIZE);
        this.#driver.queues[1]!.request(frame, 0).catch(() => {});
      }
      this.#listen();
    });
  }

  /** @param frame - becomes the answer. */
  #answer(frame: Uint8Array): Uint8Array | undefined {
    const view = new DataView(frame.buffer);
    const is = (at: number): boolean => this.#ip.every((byte, i) => frame[at + i] === byte);
    const type = frame.length < 34 ? 0 : view.getUint16(12);
    if (type === ARP && view.getUint16(20) === 1 && is(38)) {
      frame.copyWithin(32, 22, 32);
      frame.set(this.#mac, 22);
      frame.set(this.#ip, 28);
      view.setUint16(20, 2);
    } else if (type === IPV4 && frame[23] === ICMP && is(30) && frame[34] === 8) {
      frame.copyWithin(30, 26, 30);
      frame.set(this.#ip, 26);
      // An answer instead of a question: 8 less, in a sum of ones' complements.
      const sum = view.getUint16(36) + 0x0800;
      view.setUint16(36, sum > 0xffff ? sum - 0xffff : sum);
      frame[34] = 0;
      this.pings += 1;
    } else {
      return undefined;
    }
    frame.copyWithin(0, 6, 12);
    frame.set(this.#mac, 6);
    return frame;
  }
}
