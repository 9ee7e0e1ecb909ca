/*
 * QEMU's microvm has no PCI: its devices are on virtio-mmio, which the guest finds in the ACPI tables. Four things differ from
 * the other machines.
 *
 * The kernel gets no timer interrupts before it knows a clock: with tables like these ("hardware-reduced") Linux leaves the PIT
 * alone, and without KVM nothing else tells it how fast the TSC goes. It waits for ever then, before user space. So it is told.
 *
 * QEMU puts the initramfs at the very end of the memory, where the firmware has put the tables before. When the file's size
 * is a multiple of a page, a page stays free between the two, and the tables are smaller.
 *
 * Linux leaves the old interrupt controller as it is too, while the firmware has let the PIT go: a tick that is pending when interrupts
 * are first allowed comes as exception 0, a divide error, and the guest goes down before it prints a line. So there is neither.
 *
 * The machine has one serial port by itself.
 */
import { readFileSync } from 'node:fs';

/** How QEMU is told to make the machine. */
export const MICROVM = 'microvm,acpi=on,rtc=on,pcie=off,pit=off,pic=off';

/** The second serial port, and a virtio-mmio that is no legacy device. */
export const MICROVM_DEVICES: readonly string[] = [
  ...['-device', 'isa-serial,chardev=control,index=1'],
  ...['-global', 'virtio-mmio.force-legacy=off'],
];

const PAGE = 4096;

/** An initramfs with zeros behind it, as many as it takes for whole pages. */
export function wholePages(initramfs: Buffer): Buffer {
  return Buffer.concat([initramfs, Buffer.alloc(-initramfs.length & (PAGE - 1))]);
}

/** What the kernel is told of the time. @param accel - as QEMU's -accel has it; only an emulated processor needs it. */
export function microvmClock(accel: string): string[] {
  return accel.startsWith('tcg') ? [`tsc_early_khz=${tscKhz()}`, 'tsc=reliable'] : [];
}

/** Where Linux tells how fast this machine's TSC goes, the best source first, and the kHz that one of its units is. */
const SOURCES: readonly (readonly [file: string, number: RegExp, kHz: number])[] = [
  ['/sys/devices/system/cpu/cpu0/cpufreq/base_frequency', /^(\d+)$/m, 1],
  ['/sys/devices/system/cpu/cpu0/acpi_cppc/nominal_freq', /^([1-9]\d*)$/m, 1000],
  ['/proc/cpuinfo', /^model name.*@ ([\d.]+)GHz/m, 1e6],
  ['/proc/cpuinfo', /^cpu MHz\s*: ([\d.]+)/m, 1000],
];

/**
 * The rate of this machine's TSC, in kHz, as far as it is told. The emulated TSC is this one. A guest that is told another rate
 * runs as well, and its seconds are longer or shorter.
 *
 * @param read - the text of a file; throws when there is none.
 */
export function tscKhz(read: (file: string) => string = (file) => readFileSync(file, 'utf8')): number {
  for (const [file, number, kHz] of SOURCES) {
    let text: string;
    try {
      text = read(file);
    } catch {
      continue;
    }
    const [, found] = number.exec(text) ?? [];
    if (found !== undefined) return Math.round(Number(found) * kHz);
  }
  return 2_000_000;
}
