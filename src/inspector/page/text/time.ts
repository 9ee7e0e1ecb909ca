/** A span for people: `412 ns`, `12.3 µs`, `1.204 s`, `12 min 4 s`. @param ns - whole or not. */
export function spanText(ns: number): string {
  const size = Math.abs(ns);
  if (size < 1000) return `${Math.round(ns)} ns`;
  if (size < 1e6) return `${digits(ns / 1e3)} µs`;
  if (size < 1e9) return `${digits(ns / 1e6)} ms`;
  if (size < 6e10) return `${digits(ns / 1e9)} s`;
  const seconds = Math.round(ns / 1e9);
  if (size < 3.6e12) return `${Math.trunc(seconds / 60)} min ${Math.abs(seconds % 60)} s`;
  return `${Math.trunc(seconds / 3600)} h ${Math.abs(Math.trunc(seconds / 60) % 60)} min`;
}

/** Three figures that count. */
function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}

/** A moment, in seconds since the server began: `12.345 678 s`, with so many digits that two `step` ns apart are told apart. */
export function momentText(ns: number, step = 1000): string {
  const decimals = Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / 1e9))));
  const [whole, part = ''] = (ns / 1e9).toFixed(decimals).split('.');
  const groups = part.match(/\d{1,3}/g)?.join('\u202f') ?? '';
  return `${whole}${groups === '' ? '' : `.${groups}`} s`;
}

/** A moment as the clock on the wall has it: `14:02:11.204`. @param epoch - ms since 1970 of time 0. */
export function clockText(ns: number, epoch: number): string {
  const date = new Date(epoch + ns / 1e6);
  const two = (value: number): string => String(value).padStart(2, '0');
  const ms = String(date.getMilliseconds()).padStart(3, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}
