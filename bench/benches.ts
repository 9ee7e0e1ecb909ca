import type { Bench } from './harness/bench.js';

/** In the order in which they are run. */
export const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  echo: async () => (await import('./echo.js')).echo,
  blk: async () => (await import('./blk.js')).blk,
  timers: async () => (await import('./timers.js')).timers,
  ring: async () => (await import('./ring.js')).ring,
  loopback: async () => (await import('./loopback.js')).loopback,
  guest: async () => (await import('./guest.js')).guest,
  cost: async () => (await import('./cost.js')).cost,
};
