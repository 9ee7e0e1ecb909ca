/** A command that prints what comes out of another as `NAME: BASE64`, on lines that the kernel's messages do not cut. */
export function print(name: string, command: string): string {
  return `dmesg -n 1; { ${command}; } | base64 | sed 's/^/${name}: /'`;
}

/** The bytes that such a command printed. */
export function printed(name: string, console: readonly string[]): Buffer {
  const lines = console.filter((line) => line.startsWith(`${name}: `));
  return Buffer.from(lines.map((line) => line.slice(name.length + 2)).join(''), 'base64');
}
