import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { LinuxOs } from '../../linux/linux-os.js';
import { encodeFrame, FrameDecoder, type FromKeeper, type FromWorker } from '../frames.js';
import { type Handed, WorkerLine } from './worker-line.js';

test('a front-end that left is over once, although the next one is on its way', async () => {
  const os = new LinuxOs();
  const keeper = os.createChannel();
  const said: string[] = [];
  const decoder = new FrameDecoder<FromWorker>();
  keeper.channel.receive({
    received: (bytes, fds) => {
      for (const { body } of decoder.push(bytes, fds)) said.push(body.say);
    },
    closed: () => {},
  });
  const handed: Handed[] = [];
  const line = new WorkerLine(
    os,
    keeper.fd,
    (one) => void handed.push(one),
    async () => {
      // As a session does whose front-end hung up, in the moment in which the keeper's next words are read.
      handed[0]!.channel.close();
      line.over(1, undefined);
      return {};
    },
    () => {},
  );
  const frontEnds = [os.createChannel(), os.createChannel()];
  const serve = (connection: number): Uint8Array =>
    encodeFrame<FromKeeper>({ say: 'serve', transport: 'vhost-user', connection });
  keeper.channel.send(serve(1), [frontEnds[0]!.fd]);
  keeper.channel.send(encodeFrame({ say: 'go' }));
  while (handed.length === 0) await turn();

  const ask = encodeFrame<FromKeeper>({ say: 'ask', number: 1, question: { what: 'portray' } });
  keeper.channel.send(Buffer.concat([ask, serve(2)]), [frontEnds[1]!.fd]);
  while (!said.includes('answer')) await turn();
  await sleep(20);
  keeper.channel.send(encodeFrame({ say: 'go' }));
  while (handed.length === 1) await turn();
  // And whoever was late with the first.
  line.over(1, new Error('late'));
  await sleep(20);
  assert.deepEqual(said, ['serving', 'over', 'answer', 'serving']);

  handed[1]!.channel.close();
  while (said.length === 4) await turn();
  line.over(2, undefined);
  await sleep(20);
  assert.deepEqual(said.slice(4), ['over']);
  line.close();
  for (const { channel } of [keeper, ...frontEnds]) channel.close();
  os.close();
});
