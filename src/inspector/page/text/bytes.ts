/** Bytes of hex, two digits each. */
export function bytesOf(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length >> 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Two digits of a byte. */
export function byteText(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** A byte as ASCII; a dot for what can't be shown. */
export function asciiOf(byte: number): string {
  return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·';
}
