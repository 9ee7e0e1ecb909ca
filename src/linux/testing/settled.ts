import type { LinuxOs } from '../linux-os.js';

/** Resolves when all that is ready now had its turn. */
export async function settled(os: LinuxOs): Promise<void> {
  const event = os.createEvent();
  event.signal();
  await new Promise<void>((resolve) => event.watch(resolve));
  event.close();
}
