import { defineDevice, le32, struct, structQueue } from 'virtio-misc';

/** What the driver sends: `struct adder_request` in my-adder.c. */
export const Request = struct({ a: le32, b: le32 });

/** What it gets back: `struct adder_response`. */
export const Response = struct({ sum: le32, uptime_ms: le32 });

/** my-adder: adds two numbers, and says how long the driver has been there. */
export default defineDevice(() => {
  /** When the driver came, ns. */
  let ready: number | undefined;
  return {
    // Free in VIRTIO 1.3 §5; the driver names the same.
    id: 60,
    name: 'my-adder',
    queues: [
      structQueue({
        name: 'requestq',
        request: Request,
        response: Response,
        handle({ a, b }, { clock, print }) {
          print(() => `my-adder: ${a} + ${b} = ${a + b}`);
          return { sum: a + b, uptime_ms: (clock.now() - ready!) / 1e6 };
        },
      }),
    ],
    activate({ clock }) {
      ready ??= clock.now();
    },
    reset() {
      ready = undefined;
    },
    // When this file is saved while a guest runs, the edited device goes on from here.
    save: () => ready,
    restore(state) {
      ready = state as number;
    },
  };
});
