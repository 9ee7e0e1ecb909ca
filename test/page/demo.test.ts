import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBrowser, withoutBrowser } from './browser.js';
import { until, used } from './looks.js';

const DEMO = fileURLToPath(new URL('../../examples/demo.js', import.meta.url));

test('demo --inspect in a browser: rings move, a request is zoomed to and read back, hold, step, and a breakpoint on type == 77', {
  skip: withoutBrowser(),
}, async () => {
  const child = spawn(process.execPath, [DEMO, '--inspect'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const browser = await startBrowser();
  try {
    const url = await new Promise<string>((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const found = /^inspector at (\S+)$/.exec(line)?.[1];
        if (found !== undefined) resolve(found);
      });
    });
    const page = await browser.page();
    page.setDefaultTimeout(120_000);
    const wrong: string[] = [];
    page.on('pageerror', (error) => wrong.push(String(error)));
    await page.goto(url);
    await page.locator('.connections li').nth(2).waitFor();

    // Each of its devices: two rings that are split, one that is packed.
    for (const [nth, name] of ['virtio-test', 'virtio-test', 'virtio-misc'].entries())
      await page.locator('.connections li').nth(nth).getByText(name).waitFor();
    const layouts = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const queue = page.locator('.queues button', { hasText: ' · ' }).first();
      await queue.waitFor();
      layouts.add((await queue.textContent())!);
      await page.keyboard.press('c');
      await page.locator('.connections button[aria-pressed=true]').waitFor();
    }
    assert.ok(layouts.has('print128 · split') && layouts.has('print128 · packed'), [...layouts].join());
    while ((await page.locator('.queues button').first().textContent()) !== 'print128 · split')
      await page.keyboard.press('c');
    await until(page, async () => (await used(page)) > 0);
    const before = await used(page);
    await until(page, async () => (await used(page)) !== before);

    await page.keyboard.press('k');
    await page.locator('.request .bytes .row').first().waitFor();
    await page.keyboard.press('z');
    await until(page, async () => /[nµm]s$/.test((await page.locator('.timeline .span').textContent())!));
    await until(page, async () =>
      (await page.locator('.request').textContent())!.includes('hello back end!'),
    );

    await page.keyboard.press('h');
    await page.locator('.strip.held').waitFor();
    await page.getByText(/requests wait$/).waitFor();
    const held = await used(page);
    await page.keyboard.press('s');
    await until(page, async () => (await used(page)) === ((held + 1) & 0xffff));
    await page.keyboard.press('r');
    await until(page, async () => ((await used(page)) - held) % 0x1_0000 > 10);

    await page.keyboard.press('b');
    await page.locator('.breakpoints .when').fill('type == 77');
    await page.keyboard.press('Enter');
    await page.locator('.strip.held', { hasText: 'type == 77' }).waitFor();
    const type = page.locator('.request .field', { hasText: 'type' }).locator('dd').first();
    await until(page, async () => /^77\b/.test((await type.textContent())!));
    assert.deepEqual(wrong, []);
  } finally {
    await browser.close();
    child.kill('SIGTERM');
    await exit;
  }
});
