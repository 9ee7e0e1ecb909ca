import { ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestDriver } from '../../src/devices/test/driver.js';
import { linuxOs } from '../../src/linux-only.js';
import type { EventPort, Os } from '../../src/transports/ports.js';
import { VhostUserFrontend } from '../../src/transports/vhost-user/driver/frontend.js';

/*
 * A front-end whose memory is a file that can't be sealed. It makes a request, cuts the file short, and kicks. It touches its memory no more, or would
 * die of that itself.
 */

const [, , socket] = process.argv;
const os = await linuxOs();
const path = `/dev/shm/virtio-misc-test-${process.pid}`;
const file = openSync(path, 'wx+', 0o600);
unlinkSync(path);
const events: EventPort[] = [];
const own: Partial<Os> = {
  createMemory(_, size) {
    ftruncateSync(file, size);
    const again = (): number => openSync(`/proc/self/fd/${file}`, 'r+');
    return { fd: again(), mapping: os.map(again(), 0, size) };
  },
  createEvent() {
    const event = os.createEvent();
    events.push(event);
    return event;
  },
};
const mixed = new Proxy(os, {
  get(target, key) {
    const value: unknown = Reflect.get(own, key) ?? Reflect.get(target, key, target);
    return typeof value === 'function' ? value.bind(target) : value;
  },
});
const channel = os.connect(socket!);
const driver = await TestDriver.open(new VhostUserFrontend(channel, { os: mixed, clock: os.clock }));
await driver.write(1);
ftruncateSync(file, 0);
for (const event of events) event.signal();
// Until it is killed.
for (;;) await sleep(1000);
