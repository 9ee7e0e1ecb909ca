import { REQUEST } from './messages.js';

/*
 * What the document has and this project does not: each with the reason, for the line that says so. docs/vhost-user.md has all of it, and a
 * test holds the two against each other.
 */

const NETWORK = 'it is for network cards, which announce themselves here through their own driver';
const CRYPTO = 'it is for devices of the crypto type that are half in the VMM';
const POSTCOPY =
  'PAGEFAULT is not offered: a page that has not come yet would stop this whole process, other connections too, until it comes';
const SHARED = 'it hands dma-bufs from one graphics device to another, and there is none here';

/** Front-end messages that are refused, by number. */
export const REFUSED: ReadonlyMap<number, string> = new Map([
  [REQUEST.SEND_RARP, NETWORK],
  [
    REQUEST.NET_SET_MTU,
    'it is for network cards; one here says its MTU in its configuration space, if it has one',
  ],
  [REQUEST.SET_VRING_ENDIAN, 'it is for legacy devices, and only VERSION_1 is spoken'],
  [REQUEST.CREATE_CRYPTO_SESSION, CRYPTO],
  [REQUEST.CLOSE_CRYPTO_SESSION, CRYPTO],
  [REQUEST.POSTCOPY_ADVISE, POSTCOPY],
  [REQUEST.POSTCOPY_LISTEN, POSTCOPY],
  [REQUEST.POSTCOPY_END, POSTCOPY],
  [REQUEST.GPU_SET_SOCKET, "it is for vhost-user-gpu, whose display is the front-end's"],
  [REQUEST.GET_SHARED_OBJECT, SHARED],
]);

/** Protocol features that are not offered: each with its bit. */
export const NOT_OFFERED: Readonly<Record<string, readonly [bit: number, why: string]>> = {
  RARP: [2, NETWORK],
  MTU: [4, 'it is for network cards; one here says its MTU in its configuration space, if it has one'],
  CROSS_ENDIAN: [6, 'it is for legacy devices, and only VERSION_1 is spoken'],
  CRYPTO_SESSION: [7, CRYPTO],
  PAGEFAULT: [
    8,
    'a page that has not come yet would stop this whole process, other connections too, until it comes',
  ],
  HOST_NOTIFIER: [
    11,
    'it is for hardware whose doorbell is mapped into the guest; here a kick must wake this process',
  ],
  XEN_MMAP: [17, 'only memory of the same host, mapped as files, is reached'],
  SHARED_OBJECT: [18, SHARED],
};
