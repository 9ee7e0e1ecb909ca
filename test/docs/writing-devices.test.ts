import { Reader } from './reader.js';

new Reader('writing-devices.md').testCode();
