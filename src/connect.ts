import { toStderr, toStdout } from './bounded-stream.js';
import { FailureLines } from './device-file/failure-lines.js';
import { processLimiter } from './lines/process-limiter.js';
import type { LinuxOs } from './linux/linux-os.js';
import { linuxOs } from './linux-only.js';
import { Loopback } from './transports/loopback/loopback.js';
import type { Channel } from './transports/ports.js';
import { checkChoice, LOOPBACK_FEATURES, offeredOver } from './transports/transport-features.js';
import { openVfioUser, type VfioUserClientOptions } from './transports/vfio-user/driver/client.js';
import type { VfioUserTransport } from './transports/vfio-user/driver/transport.js';
import { type FrontendOptions, VhostUserFrontend } from './transports/vhost-user/driver/frontend.js';
import type { VhostUserTransport } from './transports/vhost-user/driver/transport.js';
import type { Abortable } from './virtio/abortable.js';
import { aFunction, checkOptions } from './virtio/check-options.js';
import type { VirtioDevice } from './virtio/device.js';
import type { DriverTransport } from './virtio/driver-transport.js';
import { EventLoopClock } from './virtio/event-loop-clock.js';
import type { LogContext } from './virtio/log-context.js';
import { type MakeDevice, madeDevice } from './virtio/make-device.js';
import type { Print } from './virtio/monitor.js';
import type { RingFeatures } from './virtio/ring-features.js';

/** Everything that this process connects to is served by one. It holds no process alive by itself. */
let shared: LinuxOs | undefined;

/** A connection to `path`, and what a transport needs around it. */
async function dial(
  path: string,
): Promise<{ channel: Channel; environment: { os: LinuxOs; clock: LinuxOs['clock'] } }> {
  shared ??= await linuxOs();
  return { channel: shared.connect(path), environment: { os: shared, clock: shared.clock } };
}

/**
 * Reaches a device behind a vhost-user socket, whoever serves it. Hand the transport to a driver, which closes it.
 *
 * @throws OsError `ENOENT` or `ECONNREFUSED` when nobody listens at `path`.
 */
export async function connectVhostUser(
  path: string,
  { signal, ...options }: FrontendOptions & Abortable = {},
): Promise<VhostUserTransport> {
  signal?.throwIfAborted();
  const { channel, environment } = await dial(path);
  const again = (): Channel => environment.os.connect(path);
  return new VhostUserFrontend(channel, { ...environment, dial: again }, options);
}

/**
 * Reaches a device behind a vfio-user socket, whoever serves it, as a VMM and its guest's kernel together would.
 *
 * @throws OsError `ENOENT` or `ECONNREFUSED` when nobody listens at `path`; TransportError when there is no virtio device.
 */
export async function connectVfioUser(
  path: string,
  options: VfioUserClientOptions = {},
): Promise<VfioUserTransport> {
  options.signal?.throwIfAborted();
  const { channel, environment } = await dial(path);
  const transport = await openVfioUser(channel, environment, options);
  return Object.assign(transport, { moveTo: async (to: string) => transport.move((await dial(to)).channel) });
}

/** What `loopback` may be told. */
export interface LoopbackOptions {
  /** Bytes of memory for rings and buffers. 16 MiB unless told. */
  readonly memorySize?: number;
  /** The ring features that the driver is offered, where it is not what it is offered unless told. */
  readonly features?: RingFeatures;
  /** Takes each line that the device prints for its user. To stdout unless told; `false` when nobody reads them. */
  readonly print?: Print | false;
  /**
   * A line about what the driver or the device did wrong. To stderr unless told. What the device threw comes with the stack and the code
   * there (`about.detail`), once for each place.
   */
  warn?(line: string, about?: LogContext): void;
}

/**
 * Reaches a device in this process, with no socket, on any operating system.
 *
 * @param device - what makes it, such as `virtioMisc()`, or the device itself.
 */
export function loopback(device: MakeDevice | VirtioDevice, options: LoopbackOptions = {}): DriverTransport {
  checkOptions(options, 'loopback', {
    memorySize: (value) => (typeof value === 'number' ? undefined : 'a number of bytes'),
    print: (value) => (value === false || typeof value === 'function' ? undefined : 'a function or false'),
    warn: aFunction,
  });
  checkChoice(options.features ?? {}, [LOOPBACK_FEATURES]);
  const warn = options.warn ?? toStderr;
  const write = (line: string, about: LogContext): void => warn(line, about);
  const failures = new FailureLines(processLimiter(write), write);
  const environment = {
    clock: new EventLoopClock(),
    defer: setImmediate,
    print: options.print === false ? undefined : (options.print ?? toStdout),
    warn: (line: string, about: LogContext = {}) =>
      about.error === undefined ? warn(line, about) : failures.say(line, about),
    ringFeatures: offeredOver(LOOPBACK_FEATURES, options.features),
  };
  return new Loopback(madeDevice(device, 'loopback'), environment, options.memorySize);
}
