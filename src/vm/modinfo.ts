/** What a kernel module says of itself in its `.modinfo` section. */
export interface Modinfo {
  readonly name: string;
  /** Modules that must be there before it. */
  readonly depends: readonly string[];
  /** Patterns of the devices it drives, such as `virtio:d0000002Dv*`. */
  readonly aliases: readonly string[];
  /** One line for people; may be empty. */
  readonly description: string;
}

/**
 * Reads the `.modinfo` section of a module (a 64-bit little-endian ELF file): strings `key=value`, each ended by a zero.
 *
 * @throws RangeError when the file is no such thing.
 */
export function readModinfo(module: Buffer): Modinfo {
  const section = findSection(module, '.modinfo');
  const fields = section
    .toString('utf8')
    .split('\0')
    .map((field) => [field.slice(0, field.indexOf('=')), field.slice(field.indexOf('=') + 1)] as const);
  const all = (key: string): string[] => fields.filter(([name]) => name === key).map(([, value]) => value);
  const depends = (all('depends')[0] ?? '').split(',').filter((name) => name !== '');
  return {
    name: all('name')[0] ?? '',
    depends,
    aliases: all('alias'),
    description: all('description')[0] ?? '',
  };
}

function findSection(elf: Buffer, name: string): Buffer {
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2)
    throw new RangeError('not a 64-bit ELF file');
  const table = Number(elf.readBigUInt64LE(0x28));
  const size = elf.readUInt16LE(0x3a);
  const header = (index: number): Buffer => elf.subarray(table + index * size, table + (index + 1) * size);
  const bytes = (section: Buffer): Buffer => {
    const start = Number(section.readBigUInt64LE(0x18));
    return elf.subarray(start, start + Number(section.readBigUInt64LE(0x20)));
  };
  const names = bytes(header(elf.readUInt16LE(0x3e)));
  for (let index = 0; index < elf.readUInt16LE(0x3c); index++) {
    const section = header(index);
    const start = section.readUInt32LE(0);
    if (names.toString('latin1', start, names.indexOf(0, start)) === name) return bytes(section);
  }
  throw new RangeError(`no section ${name}`);
}

type Tabled = Pick<Modinfo, 'name' | 'depends' | 'aliases'>;

/**
 * The tables that modprobe reads, for modules that all lie in one folder.
 *
 * @throws RangeError when a module needs one that is not among them.
 */
export function moduleTables(modules: readonly Tabled[]): { dep: string; alias: string } {
  const byName = new Map(modules.map((module) => [module.name, module]));
  /** Those to load before `module`, the first to load last, as depmod has them. */
  const needs = (module: Tabled, found: string[] = []): string[] => {
    for (const name of module.depends) {
      const needed = byName.get(name);
      if (!needed) throw new RangeError(`module ${module.name} needs ${name}, which the guest does not have`);
      // Again, further back, when met again: it must come before both that need it.
      const seen = found.indexOf(name);
      if (seen >= 0) found.splice(seen, 1);
      found.push(name);
      needs(needed, found);
    }
    return found;
  };
  const dep = modules.map((module) =>
    `${module.name}.ko: ${needs(module)
      .map((name) => `${name}.ko`)
      .join(' ')}`.trim(),
  );
  const alias = modules.flatMap(({ name, aliases }) => aliases.map((pattern) => `alias ${pattern} ${name}`));
  return { dep: `${dep.join('\n')}\n`, alias: `${alias.join('\n')}\n` };
}
