import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

const REQUEST = Uint8Array.of(1, 2, 3);

/** A bench with a driver that has started queue 0. */
function started(options = {}): { bench: FunctionBench; device: ProbeDevice } {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device, options);
  bench.start();
  return { bench, device };
}

test('4.1.4.5: without MSI-X a used buffer raises the line, and reading ISR lowers it', () => {
  const { bench } = started({ vectors: 0 });
  bench.request(REQUEST, 3);
  assert.equal(bench.line, true);
  assert.equal(bench.config(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT, pci.PCI_STATUS_INTERRUPT);
  assert.equal(bench.isr, virtio.VIRTIO_PCI_ISR_QUEUE);
  assert.equal(bench.line, false);
  assert.equal(bench.isr, 0);
  assert.equal(bench.config(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT, 0);
  assert.deepEqual(bench.raised, []);
});

test('4.1.4.5: a configuration change has a bit of its own', () => {
  const { bench, device } = started({ vectors: 0 });
  device.host!.configChanged();
  bench.request(REQUEST, 3);
  assert.equal(bench.lineChanges, 1);
  assert.equal(bench.isr, virtio.VIRTIO_PCI_ISR_QUEUE | virtio.VIRTIO_PCI_ISR_CONFIG);
});

test('PCI 6.2.2: interrupt disable silences the line, not the status bit; enabling it delivers', () => {
  const { bench } = started({ vectors: 0 });
  const command = pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER;
  bench.setConfig(pci.PCI_COMMAND, 2, command | pci.PCI_COMMAND_INTX_DISABLE);
  bench.request(REQUEST, 3);
  assert.equal(bench.line, false);
  assert.equal(bench.config(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT, pci.PCI_STATUS_INTERRUPT);
  bench.setConfig(pci.PCI_COMMAND, 2, command);
  assert.equal(bench.line, true);
});

test('4.1.5.3: with MSI-X each queue has its vector and the line is silent', () => {
  const { bench, device } = started();
  bench.enableMsix(0, 2);
  bench.request(REQUEST, 3);
  device.host!.configChanged();
  assert.deepEqual(bench.raised, [2, 0]);
  assert.equal(bench.lineChanges, 0);
  assert.equal(bench.isr, virtio.VIRTIO_PCI_ISR_CONFIG);
});

test('4.1.5.1.2: an event without a vector interrupts nobody', () => {
  const { bench, device } = started();
  bench.enableMsix(virtio.VIRTIO_MSI_NO_VECTOR, virtio.VIRTIO_MSI_NO_VECTOR);
  bench.request(REQUEST, 3);
  device.host!.configChanged();
  assert.deepEqual(bench.raised, []);
  assert.equal(bench.line, false);
});

test('4.1.5.1.2: a vector that there is not reads back as NO_VECTOR, and interrupts nobody', () => {
  const { bench } = started({ vectors: 2 });
  bench.enableMsix(0, 2);
  assert.equal(bench.common('queue_msix_vector'), virtio.VIRTIO_MSI_NO_VECTOR);
  bench.setCommon('config_msix_vector', 0x7ff);
  assert.equal(bench.common('config_msix_vector'), virtio.VIRTIO_MSI_NO_VECTOR);
  bench.request(REQUEST, 3);
  assert.deepEqual(bench.raised, []);
  bench.setCommon('queue_msix_vector', 1);
  assert.equal(bench.common('queue_msix_vector'), 1);
});

test('PCI 6.8.2.9: a masked vector is pending until it is unmasked, and is then sent once', () => {
  const { bench } = started();
  bench.enableMsix();
  bench.mask(1, true);
  bench.request(REQUEST, 3);
  bench.request(REQUEST, 3);
  assert.deepEqual(bench.raised, []);
  assert.equal(bench.pending(1), true);
  assert.equal(bench.pending(0), false);
  bench.mask(1, false);
  assert.deepEqual(bench.raised, [1]);
  assert.equal(bench.pending(1), false);
});

test('PCI 6.8.2.3: the function mask holds every vector', () => {
  const { bench } = started();
  bench.enableMsix();
  const flags = bench.msix + pci.PCI_MSIX_FLAGS;
  bench.setConfig(flags, 2, pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL);
  bench.request(REQUEST, 3);
  assert.deepEqual(bench.raised, []);
  bench.setConfig(flags, 2, pci.PCI_MSIX_FLAGS_ENABLE);
  assert.deepEqual(bench.raised, [1]);
});

test('PCI 6.8.2.9: vectors are masked after a reset, unless the host masks by other means', () => {
  for (const maskedAtReset of [true, false]) {
    const { bench } = started({ maskedAtReset });
    bench.setConfig(bench.msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE);
    bench.setCommon('queue_msix_vector', 1);
    bench.request(REQUEST, 3);
    assert.deepEqual(bench.raised, maskedAtReset ? [] : [1]);
  }
});

test('a vector that the host holds is pending until it lets go', () => {
  const { bench } = started();
  bench.enableMsix();
  bench.function.holdVector(1, true);
  bench.request(REQUEST, 3);
  assert.equal(bench.pending(1), true);
  bench.mask(1, true);
  bench.function.holdVector(1, false);
  assert.deepEqual(bench.raised, []);
  bench.mask(1, false);
  assert.deepEqual(bench.raised, [1]);
});

test('the MSI-X table can be read back in pieces; reserved bits stay zero', () => {
  const bench = new FunctionBench(new ProbeDevice());
  const bar = bench.config(bench.msix + pci.PCI_MSIX_TABLE, 4) & pci.PCI_MSIX_BIR;
  bench.function.writeBar(bar, 0, new Uint8Array(48).fill(0xff));
  const entry = [0xfc, ...new Array(11).fill(0xff), 1, 0, 0, 0];
  assert.deepEqual([...bench.function.readBar(bar, 0, 48)], [...entry, ...entry, ...entry]);
  assert.deepEqual([...bench.function.readBar(bar, 13, 4)], [0, 0, 0, 0xfc]);
  // The pending bits and what lies behind are not the driver's.
  bench.function.writeBar(bar, 48, new Uint8Array(0x1000).fill(0xff));
  assert.deepEqual([...new Set(bench.function.readBar(bar, 48, 0x1000 - 48))], [0]);
});

test('disabling MSI-X goes back to the line, with what is in ISR', () => {
  const { bench, device } = started();
  bench.enableMsix();
  device.host!.configChanged();
  assert.equal(bench.line, false);
  bench.setConfig(bench.msix + pci.PCI_MSIX_FLAGS, 2, 0);
  assert.equal(bench.line, true);
  bench.setConfig(bench.msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE);
  assert.equal(bench.line, false);
});
