import type { LinuxOs } from './linux/linux-os.js';

/**
 * Loads what only Linux has. Elsewhere a program can import this package all the same, and use loopback.
 *
 * @throws Error on another operating system.
 */
export async function linuxOs(): Promise<LinuxOs> {
  if (process.platform !== 'linux') {
    throw new Error(`vhost-user and vfio-user need Linux, and this is ${process.platform}: use loopback`);
  }
  const { LinuxOs } = await import('./linux/linux-os.js');
  return new LinuxOs();
}
