import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { startBrowser, withoutBrowser } from '../page/browser.js';
import { until, used } from '../page/looks.js';
import { start } from '../virtio-misc.js';

/** The page's address, which the program prints once; what else it prints is read on. */
async function address(child: ChildProcess): Promise<string> {
  child.stdout!.resume();
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: child.stderr! });
    lines.on('line', (line) => {
      const url = /http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]+/.exec(line)?.[0];
      if (url !== undefined) resolve(url);
    });
    lines.once('close', () => reject(new Error('it ended and printed no address')));
  });
}

test('a real guest in the page: its ring moves, it waits while it is held and stepped, a breakpoint on type == 77 hits, and it goes on', {
  skip: withoutBrowser(),
}, async () => {
  // Each of these looks at its answer, and ends the loop when it is a wrong one.
  const command = 'while virtio 10 && virtio 77; do :; done; echo ended: $?';
  const child = start(['vm', '--device', 'test', '--inspect', '--exec', command]);
  const exit = once(child, 'exit');
  const browser = await startBrowser();
  try {
    const page = await browser.page();
    page.setDefaultTimeout(120_000);
    await page.goto(await address(child));
    await until(page, async () => (await used(page)) > 4);
    await page.getByText('DRIVER_OK', { exact: true }).waitFor();
    assert.match((await page.locator('.features .accepted').allTextContents()).join(' '), /VERSION_1/);

    // A request of a real driver is read back.
    await page.keyboard.press('k');
    await page.locator('.request .bytes .row').first().waitFor();
    await page.keyboard.press('z');
    await until(page, async () =>
      (await page.locator('.request').textContent())!.includes('hello back end!'),
    );
    await page.keyboard.press('Escape');

    // Held, it waits.
    await page.keyboard.press('h');
    await page.getByText('1 request waits').waitFor();
    const held = await used(page);
    await page.getByText('comes next').waitFor();
    await page.keyboard.press('s');
    await until(page, async () => (await used(page)) === held + 1);
    await page.getByText('1 request waits').waitFor();
    assert.equal(await used(page), held + 1);
    await page.keyboard.press('r');
    await until(page, async () => (await used(page)) > held + 5);

    await page.keyboard.press('b');
    await page.locator('.breakpoints .when').fill('type == 77');
    await page.keyboard.press('Enter');
    await page.locator('.strip.held', { hasText: 'type == 77' }).waitFor();
    const type = page.locator('.request .field', { hasText: 'type' }).locator('dd').first();
    assert.match((await type.textContent())!, /^77\b/);
    const hit = await used(page);
    await page.keyboard.press('b');
    await page.locator('.breakpoints li button').click();
    await page.locator('.breakpoints li').waitFor({ state: 'detached' });
    await page.keyboard.press('Escape');
    await page.keyboard.press('r');
    await until(page, async () => (await used(page)) > hit + 5);
    assert.equal(child.exitCode, null, 'the guest goes on');
  } finally {
    await browser.close();
    child.kill('SIGTERM');
    await exit;
  }
});
