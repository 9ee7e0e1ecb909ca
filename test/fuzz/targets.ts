import type { Target } from './target.js';
import { CODECS } from './targets/codecs.js';
import { REGISTERS } from './targets/registers.js';
import { RINGS } from './targets/rings.js';
import { SESSIONS } from './targets/sessions.js';
import { SOCKETS } from './targets/sockets.js';

export const TARGETS: readonly Target[] = [...CODECS, ...RINGS, REGISTERS, ...SESSIONS, ...SOCKETS];
