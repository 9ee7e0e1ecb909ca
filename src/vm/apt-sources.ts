import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** One line of apt's sources: a place, a suite of it, and the keyrings that vouch for it. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Keyring files; empty when the machine's general ones are meant. */
  readonly keyrings: readonly string[];
}

/** The sources of binary packages that this machine's apt uses. */
export async function readAptSources(etc = '/etc/apt'): Promise<AptSource[]> {
  const parts = await readdir(path.join(etc, 'sources.list.d')).catch(() => []);
  const files = ['sources.list', ...parts.sort().map((part) => path.join('sources.list.d', part))];
  const sources: AptSource[] = [];
  for (const file of files) {
    const parse = file.endsWith('.list') ? parseOneLine : file.endsWith('.sources') ? parseDeb822 : undefined;
    // A file that is not there, or that this user may not read, has nothing to say.
    const text = parse && (await readFile(path.join(etc, file), 'utf8').catch(() => undefined));
    if (parse && text !== undefined) sources.push(...parse(text));
  }
  return sources;
}

/** The one-line format of sources.list(5): `deb [option=value ...] uri suite component ...`. */
export function parseOneLine(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (!match) continue;
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1] ?? '';
    sources.push({ uri, suite, components: words(components), keyrings: keyringFiles(signedBy.split(',')) });
  }
  return sources;
}

/** The deb822 format of sources.list(5): paragraphs of `Field: value`, continued on lines that begin with a blank. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  for (const paragraph of lines.join('\n').split(/\n(?:[ \t]*\n)+/)) {
    const fields = new Map<string, string>();
    for (const field of paragraph.split(/\n(?![ \t])/)) {
      const colon = field.indexOf(':');
      if (colon > 0) fields.set(field.slice(0, colon).trim().toLowerCase(), field.slice(colon + 1));
    }
    const list = (name: string): string[] => words(fields.get(name) ?? '');
    if (list('enabled')[0]?.toLowerCase() === 'no' || !list('types').includes('deb')) continue;
    for (const uri of list('uris')) {
      for (const suite of list('suites')) {
        sources.push({
          uri,
          suite,
          components: list('components'),
          keyrings: keyringFiles(list('signed-by')),
        });
      }
    }
  }
  return sources;
}

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** Signed-By may also hold fingerprints, or a whole key: those are left to apt's general keyrings. */
const keyringFiles = (values: readonly string[]): string[] => values.filter((value) => value.startsWith('/'));
