const THIN = '\u202f';

/** A whole number with thin spaces: `1 234 567`. */
export function countText(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** A number in little room: `940`, `12.4 k`, `3.1 M`. */
export function shortText(value: number): string {
  const size = Math.abs(value);
  if (size < 10 && !Number.isInteger(value)) return value.toFixed(2);
  if (size < 1000) return value.toFixed(Number.isInteger(value) || size >= 100 ? 0 : 1);
  if (size < 1e6) return `${(value / 1e3).toFixed(size < 1e5 ? 1 : 0)}${THIN}k`;
  return `${(value / 1e6).toFixed(size < 1e8 ? 1 : 0)}${THIN}M`;
}

/** An address: `0x1_0000_4000` without the lines. */
export function addressText(value: number): string {
  return `0x${value.toString(16)}`;
}
