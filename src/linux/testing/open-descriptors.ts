import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach } from 'node:test';
import { LinuxOs } from '../linux-os.js';

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Gives each test of the file an operating system of its own, and sees to it that it leaves no descriptor open. */
export function freshOs(): () => LinuxOs {
  let os: LinuxOs;
  let before: number;
  beforeEach(() => {
    before = openDescriptors();
    os = new LinuxOs();
  });
  afterEach(() => {
    os.close();
    assert.equal(openDescriptors(), before, 'descriptors were left open');
  });
  return () => os;
}
