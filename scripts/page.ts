// Bundles the inspector's page into dist/inspector-page, with the licences of what is in it.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const from = new URL('../../src/inspector/page/', import.meta.url);
const to = new URL('../inspector-page/', import.meta.url);
const assets = new URL('assets/', to);

rmSync(to, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });
const { metafile } = await build({
  absWorkingDir: fileURLToPath(new URL('../../', import.meta.url)),
  entryPoints: ['main.tsx', 'style/page.css'].map((name) => ({
    in: fileURLToPath(new URL(name, from)),
    out: 'page',
  })),
  outdir: fileURLToPath(assets),
  bundle: true,
  format: 'esm',
  target: ['chrome123', 'firefox120', 'safari17.5'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: true,
  metafile: true,
  legalComments: 'none',
  loader: { '.woff2': 'file' },
  assetNames: '[name]',
  logLevel: 'warning',
});
writeFileSync(new URL('index.html', to), readFileSync(new URL('index.html', from)));

const packages = new Set<string>();
for (const input of Object.keys(metafile.inputs)) {
  const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
  if (name !== undefined) packages.add(name);
}
const licences = [...packages].sort().map((name) => {
  const place = new URL(`../../node_modules/${name}/`, import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package.json', place), 'utf8')) as { version: string };
  return `${name} ${version}\n\n${readFileSync(new URL('LICENSE', place), 'utf8').trim()}\n`;
});
writeFileSync(new URL('LICENSES.txt', assets), licences.join(`\n${'-'.repeat(80)}\n\n`));
