import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';

/** How long anything may take on a machine that is busy, ms. */
const PATIENCE = 120_000;

/** Waits for what comes; @throws AssertionError with what the page says, when it does not. */
export async function until(page: Page, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (!(await holds())) {
    if (performance.now() > end)
      assert.fail(`it never was so; the page says: ${await page.locator('body').innerText()}`);
    await page.waitForTimeout(20);
  }
}

/** A number beside an area of the ring; NaN while there is none. */
export async function number(page: Page, area: string, name: string): Promise<number> {
  const numbers = page
    .locator('.area', { has: page.getByRole('heading', { name: area }) })
    .locator('.numbers > span');
  const code = numbers.filter({ hasText: name }).locator('code');
  return (await code.count()) === 0 ? Number.NaN : Number(await code.textContent());
}

/** The used index of a split ring. */
export async function used(page: Page): Promise<number> {
  return number(page, 'Used ring', 'idx');
}
