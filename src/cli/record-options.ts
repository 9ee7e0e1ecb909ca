import { Option } from 'commander';
import { size } from './memory-size.js';
import { UsageError } from './usage-error.js';

/** Bytes of each chain, each way, unless told. */
export const RECORD_BYTES: number = 1 << 20;

/** What `--record` and `--record-bytes` told. */
export interface RecordOptions {
  readonly record?: string;
  readonly recordBytes?: number;
}

/** `--record`, for the commands that serve. */
export function recordOption(): Option {
  return new Option(
    '--record <file>',
    "write all that passes between drivers and devices into a file, for 'show', 'replay' and Wireshark",
  );
}

/** `--record-bytes`. */
export function recordBytesOption(): Option {
  return new Option(
    '--record-bytes <size>',
    'how much of each chain --record keeps, each way; 1M unless told',
  ).argParser(size);
}

/** @throws UsageError */
export function checkRecording({ recordBytes = RECORD_BYTES }: RecordOptions): void {
  if (recordBytes > 16 << 20) throw new UsageError('--record-bytes: take 16M at most');
}
