/*
 * `frontends.js READY [--wait] SOCKET...`: a driver on each socket has one answer; then READY is written, with the time of the last in ns,
 * and all sleep. With --wait they try until somebody listens, and READY.waiting is there from the beginning.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';

const [ready, ...rest] = process.argv.slice(2) as [string, ...string[]];
const wait = rest[0] === '--wait';
const drivers: TestDriver[] = [];
if (wait) writeFileSync(`${ready}.waiting`, '');
for (const socket of wait ? rest.slice(1) : rest) {
  while (wait && !existsSync(socket)) await sleep(1);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  await driver.request({ type: 1, arg1: 2, arg2: 3, arg3: 4, arg4: 'hello' });
  drivers.push(driver);
}
writeFileSync(`${ready}.new`, String(process.hrtime.bigint()));
renameSync(`${ready}.new`, ready);
setInterval(() => drivers.length, 1e6);
