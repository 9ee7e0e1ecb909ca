import { readFile } from 'node:fs/promises';

/** Where the page was built to. */
const FOLDER = new URL('../../../inspector-page/', import.meta.url);

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  woff2: 'font/woff2',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
};

/** One of the page's files. */
export interface StaticFile {
  readonly type: string;
  readonly bytes: Buffer;
}

/** @returns `undefined` when there is none at that path. */
export async function staticFile(path: string, folder: URL = FOLDER): Promise<StaticFile | undefined> {
  const name = path === '/' ? 'index.html' : /^\/(assets\/[\w-][\w.-]*)$/.exec(path)?.[1];
  const type = name === undefined ? undefined : TYPES[name.slice(name.lastIndexOf('.') + 1)];
  if (name === undefined || type === undefined) return undefined;
  try {
    return { type, bytes: await readFile(new URL(name, folder)) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EISDIR') return undefined;
    throw error;
  }
}
