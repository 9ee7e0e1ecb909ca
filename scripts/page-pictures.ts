// Takes the pictures of the inspector's page in docs/, from the real page over real sockets: docs/inspector-*.png. Needs chromium and pngquant.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import {
  defineDevice,
  le32,
  MiscDriver,
  openDriver,
  struct,
  structQueue,
  TestDriver,
  text,
  virtioMisc,
  virtioTest,
} from '../src/index.js';
import { startBrowser } from '../test/page/browser.js';
import { type Inspected, inspected } from '../test/page/inspected.js';
import { RawDriver } from '../test/page/raw-driver.js';

const VIRTQ_DESC_F_NEXT = 1;
const Question = struct({ after: le32, text: text(60) });

/** A device that answers when it was told to, in whichever order that is. */
const slowly = defineDevice({
  id: 63,
  name: 'answers-later',
  queues: [
    structQueue({
      name: 'questions',
      size: 64,
      request: Question,
      response: struct({ text: text(64) }),
      handle: ({ after, text }, { clock }) =>
        new Promise((resolve) => {
          clock.alarm(() => resolve({ text: `answer to ${text}` })).set(clock.now() + after * 1e6);
        }),
    }),
  ],
});

const docs = fileURLToPath(new URL('../../docs/', import.meta.url));
const wanted = process.argv.slice(2);
const browser = await startBrowser();

/** Colours are few: a palette makes the picture a third as large. */
async function take(page: Page, name: string): Promise<void> {
  const raw = await page.screenshot();
  writeFileSync(
    `${docs}inspector-${name}.png`,
    execFileSync('pngquant', ['--speed', '1', '160', '-'], { input: raw }),
  );
}

async function picture(
  name: string,
  colorScheme: 'dark' | 'light',
  device: Promise<Inspected>,
  scene: (page: Page, device: Inspected) => Promise<() => Promise<void> | void>,
): Promise<void> {
  const served = await device;
  if (wanted.length === 0 || wanted.includes(name)) {
    const page = await browser.page({ colorScheme });
    await page.goto(served.url);
    await page.getByText('live', { exact: true }).waitFor();
    const end = await scene(page, served);
    await take(page, name);
    await end();
    await page.context().close();
    console.log(`docs/inspector-${name}.png`);
  }
  served.close();
}

/** Requests one after the other, `width` at a time, until it is told to end. */
function keepAsking(driver: TestDriver, width: number, pause: number): () => Promise<void> {
  let on = true;
  let count = 0;
  const one = async (seed: number): Promise<void> => {
    while (on) {
      count += 1;
      await driver.request({
        type: 1 + (count % 4),
        arg1: count,
        arg2: 2 * count,
        arg3: 7,
        arg4: `hello ${count}`,
      });
      await sleep(pause * (0.4 + ((seed + count * 7) % 11) / 8));
    }
  };
  const all = Promise.all(Array.from({ length: width }, (_, i) => one(i * 5)));
  return async () => {
    on = false;
    await all;
    await driver.close();
  };
}

try {
  await picture('echo', 'dark', inspected(virtioTest(), 'test'), async (page, device) => {
    const end = keepAsking(await TestDriver.open(await device.connect()), 6, 30);
    await sleep(6000);
    await page.keyboard.press('k');
    await page.locator('.request .bytes .row').first().waitFor();
    await page.keyboard.press('z');
    for (let i = 0; i < 2; i++) await page.keyboard.press('-');
    await page.locator('.request .field').nth(4).hover();
    await sleep(600);
    return end;
  });

  await picture('timers', 'light', inspected(virtioMisc(), 'misc'), async (page, device) => {
    const driver = await MiscDriver.open(await device.connect());
    for (let i = 0; i < 24; i++) {
      void driver.setTimer(400 + ((i * 733) % 4000), () => {}, i);
      await sleep(110);
    }
    await page.keyboard.press('2');
    await page.keyboard.press('l');
    await sleep(900);
    return () => driver.close();
  });

  await picture(
    'packed',
    'dark',
    inspected(slowly, 'later', { features: { packed: true } }),
    async (page, device) => {
      const driver = await openDriver(await device.connect(), {
        id: 63,
        features: 0n,
        queues: 1,
        queueSize: 64,
      });
      let on = true;
      const one = async (seed: number): Promise<void> => {
        for (let i = seed; on; i++) {
          await driver.queues[0]!.request(
            Question.encode({ after: 20 + ((i * 37) % 160), text: `question ${i}` }),
            64,
          );
          await sleep((i * 13) % 40);
        }
      };
      const all = Promise.all(Array.from({ length: 9 }, (_, i) => one(i * 100)));
      await page.keyboard.press('p');
      await sleep(12_000);
      return async () => {
        on = false;
        await all;
        await driver.close();
      };
    },
  );

  await picture('broken', 'light', inspected(virtioTest(), 'test'), async (page, device) => {
    const driver = await RawDriver.open(await device.connect());
    await page.keyboard.press('b');
    await page.locator('#breakpoint-kind').selectOption('broken');
    await page.getByRole('button', { name: 'Set breakpoint' }).click();
    await page.locator('.breakpoints li').waitFor();
    const request = new Uint8Array(48);
    for (let i = 0; i < 5; i++) {
      request[0] = i;
      driver.send(2 * i, [
        { bytes: request, flags: VIRTQ_DESC_F_NEXT, next: 2 * i + 1 },
        { length: 12, flags: 2 },
      ]);
      await sleep(150);
    }
    // Two descriptors that name each other.
    driver.send(10, [
      { bytes: request, flags: VIRTQ_DESC_F_NEXT, next: 11 },
      { bytes: request, flags: VIRTQ_DESC_F_NEXT, next: 10 },
    ]);
    await page.locator('.strip.held').waitFor();
    await page.keyboard.press('r');
    await page.locator('.strip.wrong').waitFor();
    await page.keyboard.press('l');
    await sleep(600);
    return () => driver.close();
  });
} finally {
  await browser.close();
}
