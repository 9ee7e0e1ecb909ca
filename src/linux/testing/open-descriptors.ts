import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach } from 'node:test';
import { LinuxOs } from '../linux-os.js';

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Waits until so many are open and no more: what a peer sent may be closed a moment later. */
export async function descriptorsLeft(count: number): Promise<void> {
  while (openDescriptors() > count) await new Promise(setImmediate);
  assert.equal(openDescriptors(), count, 'descriptors were left open, or closed that should not be');
}

/** Gives each test of the file an operating system of its own, and sees to it that it leaves no descriptor open. */
export function freshOs(): () => LinuxOs {
  let os: LinuxOs;
  let before: number;
  beforeEach(() => {
    before = openDescriptors();
    os = new LinuxOs();
  });
  afterEach(async () => {
    os.close();
    await descriptorsLeft(before);
  });
  return () => os;
}
