import assert from 'node:assert/strict';
import { test } from 'node:test';
import { microvmClock, tscKhz, wholePages } from './microvm.js';

/** A machine with these files alone. */
const machine =
  (files: Readonly<Record<string, string>>) =>
  (file: string): string => {
    const text = files[file];
    if (text === undefined) throw new Error(`ENOENT: ${file}`);
    return text;
  };
const BASE = '/sys/devices/system/cpu/cpu0/cpufreq/base_frequency';
const NOMINAL = '/sys/devices/system/cpu/cpu0/acpi_cppc/nominal_freq';

test('the rate of the TSC is the nominal one of the processor, not that of the moment', () => {
  const guest = 'model name\t: Intel(R) Xeon(R) Processor\ncpu MHz\t\t: 2599.998\n';
  const named = 'model name\t: Intel(R) Xeon(R) CPU E5 @ 2.30GHz\ncpu MHz\t\t: 3100.123\n';
  assert.equal(tscKhz(machine({ [BASE]: '2800000\n', '/proc/cpuinfo': named })), 2_800_000);
  assert.equal(tscKhz(machine({ [NOMINAL]: '3400\n', '/proc/cpuinfo': guest })), 3_400_000);
  assert.equal(tscKhz(machine({ [NOMINAL]: '0\n', '/proc/cpuinfo': named })), 2_300_000);
  assert.equal(tscKhz(machine({ '/proc/cpuinfo': guest })), 2_599_998);
});

test('a machine that does not tell gets a usual rate', () => {
  assert.equal(tscKhz(machine({})), 2_000_000);
  assert.equal(tscKhz(machine({ '/proc/cpuinfo': 'processor\t: 0\n' })), 2_000_000);
});

test('only an emulated processor is told the rate', () => {
  assert.match(microvmClock('tcg,thread=multi')[0]!, /^tsc_early_khz=[1-9]\d{5,7}$/);
  assert.deepEqual(microvmClock('kvm'), []);
});

test('an initramfs becomes whole pages, and keeps what it is', () => {
  for (const length of [0, 1, 4095, 4096, 4097]) {
    const pages = wholePages(Buffer.alloc(length, 7));
    assert.equal(pages.length, Math.ceil(length / 4096) * 4096);
    assert.deepEqual(pages.subarray(0, length), Buffer.alloc(length, 7));
    assert.ok(pages.subarray(length).every((byte) => byte === 0));
  }
});
