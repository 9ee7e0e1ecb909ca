import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bestAccel } from './accel.js';

test('KVM is taken where this user may read and write the device, and else QEMU’s own emulation', () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  try {
    const device = join(folder, 'kvm');
    assert.equal(bestAccel(device), 'tcg');
    writeFileSync(device, '');
    assert.equal(bestAccel(device), 'kvm');
    chmodSync(device, 0o400);
    // Root may always.
    assert.equal(bestAccel(device), process.getuid!() === 0 ? 'kvm' : 'tcg');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
