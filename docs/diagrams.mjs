// A plugin of typedoc's: the pages' mermaid blocks are drawn in the reader's browser, by a script that lies beside the pages.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { JSX } from 'typedoc';

const MERMAID = fileURLToPath(new URL('node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js', import.meta.url));

const DRAW = `
const blocks = [...document.querySelectorAll('code.mermaid')];
for (const block of blocks) {
  for (const end of block.querySelectorAll('br')) end.replaceWith('\\n');
  const picture = document.createElement('div');
  picture.className = 'mermaid';
  picture.textContent = block.textContent;
  (block.closest('pre') ?? block).replaceWith(picture);
}
const dark = document.documentElement.dataset.theme === 'dark'
  || (document.documentElement.dataset.theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
mermaid.initialize({ startOnLoad: false, securityLevel: 'strict', theme: dark ? 'dark' : 'default' });
// The page is hidden while it is set up, and what is hidden has no size.
const draw = () => (document.body.offsetHeight === 0 ? requestAnimationFrame(draw) : mermaid.run());
if (blocks.length > 0) draw();
`;

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.renderer.hooks.on('body.end', (context) => {
    const source = (name) => context.relativeURL(`assets/${name}`);
    const script = (name) => JSX.createElement('script', { src: source(name), defer: true });
    return JSX.createElement(JSX.Fragment, null, script('mermaid.tiny.js'), script('diagrams.js'));
  });
  app.renderer.on('endRender', ({ outputDirectory }) => {
    const assets = join(outputDirectory, 'assets');
    mkdirSync(assets, { recursive: true });
    copyFileSync(MERMAID, join(assets, 'mermaid.tiny.js'));
    writeFileSync(join(assets, 'diagrams.js'), DRAW);
  });
}
