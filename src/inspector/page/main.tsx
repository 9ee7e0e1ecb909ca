import { effect } from '@preact/signals';
import { render } from 'preact';
import { listenToKeys } from './keys.js';
import { Session } from './session.js';
import { App } from './view/app.js';
import { wearTheme } from './view/palette.js';

wearTheme();
const session = new Session();
effect(() => {
  const title = session.model.hello.value?.title;
  document.title = title === undefined ? 'virtio-misc inspector' : `${title} · virtio-misc inspector`;
});
listenToKeys(session);
// A file that is dropped anywhere is a recording.
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (file !== undefined) session.openRecording(file);
});
render(<App session={session} />, document.body);
session.feed.open();
