import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Page } from 'playwright-core';
import {
  defineDevice,
  le32,
  openDriver,
  struct,
  structQueue,
  TestDriver,
  type TestRequest,
  tail,
  u8,
  virtioTest,
} from '../../src/index.js';
import { type Browser, startBrowser, withoutBrowser } from './browser.js';
import { type Inspected, inspected } from './inspected.js';
import { number, until, used } from './looks.js';
import { RawDriver } from './raw-driver.js';

const VIRTQ_DESC_F_NEXT = 1;
const VIRTQ_DESC_F_WRITE = 2;

/** What the browser itself says of a server that refuses, or is gone. */
const EXPECTED = /400 \(Bad Request\)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/;

function request(of: Partial<TestRequest>): TestRequest {
  return { type: 1, arg1: 2, arg2: 3, arg3: 4, arg4: 'hello', ...of };
}

describe('the inspector in a browser', { skip: withoutBrowser() }, () => {
  let browser: Browser;
  let device: Inspected | undefined;
  let page: Page;
  /** What went wrong in the page. */
  const wrong: string[] = [];
  before(async () => {
    browser = await startBrowser();
  });
  after(() => browser.close());
  afterEach(async () => {
    device?.close();
    await page.context().close();
    assert.deepEqual(wrong.splice(0), []);
  });

  /** Looks at a device with a new page. */
  async function look(at: Promise<Inspected>): Promise<Inspected> {
    device = await at;
    page = await browser.page();
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('dialog', (dialog) => wrong.push(`dialog ${dialog.message()}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && !EXPECTED.test(message.text())) wrong.push(message.text());
    });
    await page.goto(device.url);
    await page.locator('.link.open').waitFor();
    return device;
  }

  /** Whether there is anything but one colour on a canvas. */
  async function drawn(selector: string): Promise<boolean> {
    return page.evaluate<boolean>(`(() => {
      const canvas = document.querySelector('${selector}');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size > 3;
    })()`);
  }

  test('the ring moves, and the timeline zooms to a request that is read back', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({ arg1: 0x1234 }));
    await until(page, async () => (await used(page)) === 1);
    for (let i = 0; i < 9; i++) await driver.request(request({ type: 7, arg4: 'read me back' }));
    await until(page, async () => (await used(page)) === 10);
    assert.equal(await number(page, 'Available ring', 'device at'), 10);
    assert.ok(await drawn('.area canvas'));

    const span = page.locator('.timeline .span');
    assert.equal(await span.textContent(), '4.00 s');
    await page.keyboard.press('k');
    await page.locator('.request .bytes .row').first().waitFor();
    await page.keyboard.press('z');
    await until(page, async () => /[nµ]s$/.test((await span.textContent())!));
    assert.ok(await drawn('.track canvas'));
    assert.match((await page.locator('.request h3').textContent())!, /^#10 print$/);
    const fields = page.locator('.request .part').first().locator('.field');
    assert.deepEqual(await fields.locator('dt').allTextContents(), ['type', 'arg1', 'arg2', 'arg3', 'arg4']);
    assert.equal(await fields.locator('dd').first().textContent(), '7');
    assert.equal(await fields.locator('dd').last().textContent(), '"read me back"');
    const ascii = await page.locator('.request .bytes').first().locator('.ascii').allTextContents();
    assert.match(ascii.join(''), /read me back/);
    const parts = await page.locator('.latency dt').allTextContents();
    assert.deepEqual(parts, ['waiting in the ring', 'in the device', 'until the interrupt', 'all of it']);
    // Its neighbour, by the keyboard alone.
    await page.keyboard.press('k');
    await page.getByText('#9', { exact: false }).first().waitFor();
    await driver.close();
  });

  test('the wheel zooms where the pointer is, dragging moves, f follows again', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({}));
    const span = page.locator('.timeline .span');
    const follow = page.getByRole('button', { name: 'Follow' });
    const box = (await page.locator('.track canvas').boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.wheel(0, -400);
    await until(page, async () => (await span.textContent()) !== '4.00 s');
    assert.equal(await follow.getAttribute('aria-pressed'), 'true', 'what follows is zoomed at its end');
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2 + 80, box.y + box.height / 2, { steps: 4 });
    await page.mouse.up();
    await until(page, async () => (await follow.getAttribute('aria-pressed')) === 'false');
    await page.keyboard.press('f');
    await until(page, async () => (await follow.getAttribute('aria-pressed')) === 'true');
    await driver.close();
  });

  test('hold, step and resume: the driver waits, and goes on', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({}));
    await until(page, async () => (await used(page)) === 1);
    await page.keyboard.press('h');
    await page.locator('.strip.held').waitFor();
    const answers = [10, 20, 30].map((arg1) => driver.request(request({ arg1 })));
    await page.getByText('3 requests wait').waitFor();
    assert.equal(await used(page), 1);
    // What waits is read before the device sees it.
    await page.getByText('comes next').waitFor();
    const arg1 = page.locator('.request .field', { hasText: 'arg1' }).locator('dd');
    assert.match((await arg1.textContent())!, /^10\b/);
    await page.keyboard.press('s');
    assert.equal((await answers[0]!).ret, 110);
    await page.getByText('2 requests wait').waitFor();
    assert.match((await arg1.textContent())!, /^20\b/);
    assert.equal(await used(page), 2);
    await page.keyboard.press('r');
    assert.deepEqual(
      (await Promise.all(answers)).map(({ ret }) => ret),
      [110, 120, 130],
    );
    await page.locator('.strip.held').waitFor({ state: 'detached' });
    await until(page, async () => (await used(page)) === 4);
    await driver.close();
  });

  test('a breakpoint on type == 77 holds before the device sees it; a condition that is none is said', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({}));
    await page.keyboard.press('b');
    await page.locator('.breakpoints .when').fill('type ==');
    await page.keyboard.press('Enter');
    await page.locator('.strip.wrong').waitFor();
    await page.locator('.breakpoints .when').fill('type == 77');
    await page.keyboard.press('Enter');
    await page.locator('.breakpoints li', { hasText: 'type == 77' }).waitFor();
    await driver.request(request({ type: 76 }));
    let answered = false;
    const answer = driver.request(request({ type: 77, arg1: 5 })).then((response) => {
      answered = true;
      return response;
    });
    await page.locator('.strip.held', { hasText: 'type == 77' }).waitFor();
    await page.getByText('comes next').waitFor();
    assert.equal(answered, false);
    await page.keyboard.press('b');
    await page.locator('.breakpoints li', { hasText: '1 hit' }).waitFor();
    await page.locator('.breakpoints li button').click();
    await page.locator('.breakpoints li').waitFor({ state: 'detached' });
    await page.keyboard.press('Escape');
    await page.keyboard.press('r');
    assert.equal((await answer).ret, 105);
    await driver.close();
  });

  test('a packed ring: both places with their wrap counters', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test', { features: { packed: true } }));
    const driver = await TestDriver.open(await connect());
    for (let i = 0; i < 130; i++) await driver.request(request({ arg1: i }));
    const numbers = page.locator('.area .numbers');
    await numbers.getByText('2 wrap 0').first().waitFor();
    assert.match((await numbers.textContent())!, /next available 2 wrap 0next used 2 wrap 0/);
    await driver.close();
  });

  test('a queue that breaks says by which rule', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await RawDriver.open(await connect());
    const bytes = new Uint8Array(48);
    driver.send(0, [
      { bytes, flags: VIRTQ_DESC_F_NEXT, next: 1 },
      { length: 12, flags: VIRTQ_DESC_F_WRITE },
    ]);
    await until(page, async () => driver.used === 1);
    driver.send(4, [
      { bytes, flags: VIRTQ_DESC_F_NEXT, next: 5 },
      { bytes, flags: VIRTQ_DESC_F_NEXT, next: 4 },
    ]);
    await page.locator('.strip.wrong', { hasText: '2.7.5.2' }).waitFor();
    await page.locator('.connections .state', { hasText: 'broken' }).waitFor();
    driver.close();
  });

  test('what a guest sends is text: tags, and what steers a terminal', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    const tags = '<img src=x onerror=alert(1)>';
    const escapes = '\x1b[31mred\x9b';
    await driver.request(request({ arg4: escapes }));
    await driver.request(request({ arg4: tags }));
    await until(page, async () => (await used(page)) === 2);
    await page.keyboard.press('k');
    const last = page.locator('.request .part').first().locator('.field dd').last();
    await until(page, async () => (await last.textContent()) === `"${tags}"`);
    await page.keyboard.press('k');
    await until(page, async () => /^"\\u001b\[31mred\\x9b"$/.test((await last.textContent())!));
    await page.keyboard.press('l');
    await page.locator('.log').getByText(tags).waitFor();
    const all = (await page.locator('body').textContent())!;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
    assert.doesNotMatch(all, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
    assert.equal(await page.locator('img, body script').count(), 0);
    await driver.close();
  });

  test('a text of 64 KiB moves nothing out of its place', async () => {
    const Said = struct({ length: le32, text: tail(u8, 65_536) });
    const device = defineDevice({
      id: 63,
      name: '<b>'.repeat(100),
      queues: [
        structQueue({
          name: 'q'.repeat(200),
          request: Said,
          handle({ text }, { print }) {
            print(`\u202e<script>alert(1)</script>${String.fromCharCode(...text.map(Number))}`);
          },
        }),
      ],
    });
    const { connect } = await look(inspected(device, '<script>alert(1)</script>'));
    const driver = await openDriver(await connect(), { id: 63, features: 0n, queues: 1 });
    const bytes = new Uint8Array(4 + 65_536).fill(0x41);
    await driver.queues[0]!.request(bytes, 0);
    await page.keyboard.press('l');
    await page.locator('.log .line', { hasText: '\\u202e<script>alert(1)</script>AAA' }).waitFor();
    await page.keyboard.press('k');
    await page.locator('.request .bytes .row').first().waitFor();
    await page.getByText('of 65').first().waitFor();
    const overflows = await page.evaluate<number[]>(
      'const { scrollWidth, scrollHeight, clientWidth, clientHeight } = document.documentElement; [scrollWidth - clientWidth, scrollHeight - clientHeight]',
    );
    assert.deepEqual(overflows, [0, 0]);
    for (const part of ['.side', 'main', '.pane', '.top', '.debugger']) {
      const { x, y, width, height } = (await page.locator(part).boundingBox())!;
      assert.ok(x >= 0 && y >= 0 && x + width <= 1280 && y + height <= 720, `${part} is out of its place`);
    }
    assert.ok((await page.locator('.bytes .row').count()) < 100, 'only rows that are seen are there');
    await driver.close();
  });

  test('a recording is opened in the page of a live device, and read back', async () => {
    const { connect, record } = await look(inspected(virtioTest(), 'test'));
    const file = record();
    const driver = await TestDriver.open(await connect());
    for (const type of [10, 11, 12]) await driver.request(request({ type, arg4: 'on record' }));
    await driver.close();
    await page.locator('#open-recording').setInputFiles(file());
    await page.getByText('recording', { exact: true }).waitFor();
    await page.keyboard.press('k');
    await page.locator('.request h3', { hasText: '#3' }).waitFor();
    await until(page, async () => (await page.locator('.request').textContent())!.includes('on record'));
    assert.ok(await page.getByRole('button', { name: 'Hold' }).isDisabled());
    await page.getByText('a recording has what passed, and no memory').waitFor();
    // And back.
    await page.locator('.top select').selectOption('live');
    await page.getByText('live', { exact: true }).waitFor();
  });

  test('what is no recording is refused in one line', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await page
      .locator('#open-recording')
      .setInputFiles({ name: 'x.pcapng', mimeType: '', buffer: Buffer.from('no') });
    await page.locator('.strip.wrong').waitFor();
    await page.locator('.strip.wrong').getByRole('button', { name: 'Close' }).click();
    await page.locator('.strip.wrong').waitFor({ state: 'detached' });
    await driver.close();
  });

  test('dark or light as the system has it, and as one says', async () => {
    await look(inspected(virtioTest(), 'test'));
    const ground = (): Promise<string> =>
      page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await ground();
    await page.emulateMedia({ colorScheme: 'dark' });
    const dark = await ground();
    assert.notEqual(light, dark);
    await page.keyboard.press('t');
    assert.equal(await ground(), light);
  });

  test('all can be reached with Tab, and is seen to be', async () => {
    const { connect } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({}));
    await until(page, async () => (await used(page)) === 1);
    const reached = new Set<string>();
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab');
      const [what, outline] = await page.evaluate<[string, string]>(`(() => {
        const one = document.activeElement;
        if (one === document.body) return ['', ''];
        return [(one.getAttribute('aria-label') ?? one.textContent).trim(), getComputedStyle(one).outlineStyle];
      })()`);
      if (what === '') continue;
      assert.notEqual(outline, 'none', `${what} does not show that it has the focus`);
      reached.add(what);
    }
    for (const what of ['Hold', 'Plots', 'Log', 'Breaks', 'Closer', 'Open recording', 'Keys'])
      assert.ok(reached.has(what), `${what} of ${[...reached]}`);
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('hold the queue').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await driver.close();
  });

  test('a server that ends is said to be lost, and what is shown stays', async () => {
    const { connect, close } = await look(inspected(virtioTest(), 'test'));
    const driver = await TestDriver.open(await connect());
    await driver.request(request({}));
    await until(page, async () => (await used(page)) === 1);
    await driver.close();
    close();
    await page.getByText('Connection lost.').waitFor();
    assert.match((await page.locator('.connections').textContent())!, /virtio-test/);
  });
});
