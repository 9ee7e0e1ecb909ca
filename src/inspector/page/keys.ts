import type { Pane, Session } from './session.js';
import { toggleTheme } from './view/palette.js';

/** A key, and what it does. */
export interface Shortcut {
  readonly keys: readonly string[];
  /** As a person reads it. */
  readonly shown: string;
  readonly what: string;
  readonly group: 'Rings' | 'Timeline' | 'Debugger' | 'Page';
  act(session: Session, key: string): void;
}

/** A key that shows a pane. */
function paneKey(key: string, what: string, pane: Pane): Shortcut {
  return {
    keys: [key],
    shown: key,
    what,
    group: 'Page',
    act: (session) => {
      session.pane.value = pane;
    },
  };
}

/** What the keyboard does, in the order in which `?` lists it. */
export const SHORTCUTS: readonly Shortcut[] = [
  {
    keys: ['1', '2', '3', '4', '5', '6', '7', '8', '9'],
    shown: '1 … 9',
    what: 'look at a queue',
    group: 'Rings',
    act: (session, key) => {
      const connection = session.connection.value?.connection;
      const queue = session.model.queuesOf(connection)[Number(key) - 1];
      if (queue !== undefined) session.choose(queue.connection, queue.queue);
    },
  },
  {
    keys: ['c'],
    shown: 'c',
    what: 'the next connection',
    group: 'Rings',
    act: (session) => {
      const all = [...session.model.connections.value.keys()];
      const at = all.indexOf(session.connection.value?.connection ?? -1);
      const next = all[(at + 1) % all.length];
      if (next !== undefined) session.choose(next);
    },
  },
  {
    keys: ['+', '='],
    shown: '+',
    what: 'closer',
    group: 'Timeline',
    act: (session) => session.zoom(0.5),
  },
  { keys: ['-'], shown: '−', what: 'further', group: 'Timeline', act: (session) => session.zoom(2) },
  {
    keys: ['ArrowLeft'],
    shown: '←',
    what: 'earlier',
    group: 'Timeline',
    act: (session) => session.pan(-0.2),
  },
  {
    keys: ['ArrowRight'],
    shown: '→',
    what: 'later',
    group: 'Timeline',
    act: (session) => session.pan(0.2),
  },
  { keys: ['j'], shown: 'j', what: 'the next request', group: 'Timeline', act: (session) => session.step(1) },
  {
    keys: ['k'],
    shown: 'k',
    what: 'the request before',
    group: 'Timeline',
    act: (session) => session.step(-1),
  },
  {
    keys: ['z'],
    shown: 'z',
    what: 'zoom to the request',
    group: 'Timeline',
    act: (session) => session.zoomToChosen(),
  },
  {
    keys: ['a'],
    shown: 'a',
    what: 'all that is kept',
    group: 'Timeline',
    act: (session) => session.showAll(),
  },
  {
    keys: ['f', 'End'],
    shown: 'f',
    what: 'follow what happens now',
    group: 'Timeline',
    act: (session) => session.follow(),
  },
  {
    keys: ['h'],
    shown: 'h',
    what: 'hold the queue',
    group: 'Debugger',
    act: (session) => session.holdQueue(),
  },
  {
    keys: ['H'],
    shown: 'Shift h',
    what: 'hold the whole device',
    group: 'Debugger',
    act: (session) => session.holdDevice(),
  },
  {
    keys: ['s'],
    shown: 's',
    what: 'step: give the device one request',
    group: 'Debugger',
    act: (session) => session.stepQueue(),
  },
  {
    keys: ['r'],
    shown: 'r',
    what: 'resume the queue',
    group: 'Debugger',
    act: (session) => session.release(),
  },
  {
    keys: ['R'],
    shown: 'Shift r',
    what: 'resume everything',
    group: 'Debugger',
    act: (session) => session.releaseAll(),
  },
  paneKey('d', 'the request in detail', 'request'),
  paneKey('p', 'plots', 'plots'),
  paneKey('l', 'the log', 'log'),
  {
    keys: ['b'],
    shown: 'b',
    what: 'breakpoints',
    group: 'Page',
    act: (session) => {
      session.pane.value = 'breakpoints';
      // What is drawn because of this is there in the next frame.
      requestAnimationFrame(() => document.getElementById('breakpoint-kind')?.focus());
    },
  },
  {
    keys: ['o'],
    shown: 'o',
    what: 'open a recording',
    group: 'Page',
    act: () => document.getElementById('open-recording')?.click(),
  },
  { keys: ['t'], shown: 't', what: 'dark or light', group: 'Page', act: () => toggleTheme() },
  {
    keys: ['?'],
    shown: '?',
    what: 'these keys',
    group: 'Page',
    act: (session) => {
      session.help.value = !session.help.value;
    },
  },
  {
    keys: ['Escape'],
    shown: 'Esc',
    what: 'close, and choose nothing',
    group: 'Page',
    act: (session) => {
      if (session.help.value) session.help.value = false;
      else session.look(undefined);
    },
  },
];

/** Has keys do what they stand for, wherever nobody writes. */
export function listenToKeys(session: Session): void {
  document.addEventListener('keydown', (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target instanceof HTMLElement && target.closest('input, select, textarea') !== null) {
      if (key === 'Escape') target.blur();
      return;
    }
    const shortcut = SHORTCUTS.find(({ keys }) => keys.includes(key));
    if (shortcut === undefined) return;
    event.preventDefault();
    shortcut.act(session, key);
  });
}
