// The package's public entry point.

export {
  connectVfioUser,
  connectVhostUser,
  type LoopbackOptions,
  loopback,
} from './connect.js';
export type { Connection, ServedConnection } from './connections.js';
export { type MiscOptions, virtioMisc } from './devices/misc/device.js';
export { MiscDriver, type Timer, type TimerCallback, type TimerTimes } from './devices/misc/driver.js';
export { MiscError, type MiscErrorCode } from './devices/misc/misc-error.js';
export { type TestOptions, virtioTest } from './devices/test/device.js';
export { TestDriver } from './devices/test/driver.js';
export type { TestConfig, TestRequest, TestResponse } from './devices/test/wire.js';
export type { FileServeOptions, FileServer } from './file-server.js';
export { type InspectOptions, inspect } from './inspect.js';
export { type Inspector, type InspectorOptions, openInspector } from './inspector-page.js';
export type { GuestAddress } from './memory/address.js';
export { GuestMemory, type MemoryRegion } from './memory/guest-memory.js';
export { MemoryError, type MemoryErrorCode } from './memory/memory-error.js';
export type { MemoryView } from './memory/memory-view.js';
export type {
  AvailableEvent,
  BrokenEvent,
  ConfigChangedEvent,
  ConfigEvent,
  ConnectedEvent,
  DroppedEvent,
  FeaturesEvent,
  GoneEvent,
  InspectEvent,
  InterruptEvent,
  KickedEvent,
  LifeEvent,
  LineEvent,
  QueueStartedEvent,
  QueueStoppedEvent,
  ReplacedEvent,
  SeenDescriptor,
  SeenDevice,
  StatusEvent,
  TakenEvent,
  UsedEvent,
} from './observe/event.js';
export type { NextChain } from './observe/next-chain.js';
export type { Hear, Listener } from './observe/observer.js';
export type {
  EventLook,
  PackedLook,
  RingCopy,
  RingLook,
  RingWindow,
  SplitLook,
} from './observe/ring-look.js';
export type {
  DeviceWatch,
  HeldHead,
  RingCounts,
  RingWatch,
  StopAt,
  Unseen,
} from './observe/ring-watch.js';
export {
  type Replacement,
  type SaveOptions,
  type ServeOptions,
  type Server,
  type ServerObserver,
  serve,
} from './serve.js';
export { OsError } from './transports/os-error.js';
export type { VfioUserClientOptions } from './transports/vfio-user/driver/client.js';
export type { VfioUserTransport } from './transports/vfio-user/driver/transport.js';
export type { FrontendOptions } from './transports/vhost-user/driver/frontend.js';
export type { VhostUserTransport } from './transports/vhost-user/driver/transport.js';
export { ProtocolError, type ProtocolErrorCode } from './transports/vhost-user/protocol-error.js';
export type { Abortable } from './virtio/abortable.js';
export { array } from './virtio/array.js';
export { BufferQueue } from './virtio/buffer-queue.js';
export type { ChainQueue, Device, DeviceQueues, Running } from './virtio/chain-queue.js';
export type { Alarm, Clock } from './virtio/clock.js';
export { ConfigSpace } from './virtio/config-space.js';
export { type Control, control } from './virtio/control.js';
export type { ControlInfo } from './virtio/control-info.js';
export { defineDevice } from './virtio/define-device.js';
export type { DeviceHost, DeviceQueue, QueueSpec, VirtioDevice } from './virtio/device.js';
export type { DeviceDefinition, QueueGroup } from './virtio/device-definition.js';
export { type Driver, type DriverOptions, openDriver } from './virtio/driver.js';
export {
  type DriverTransport,
  type RingPlace,
  TransportError,
  type TransportErrorCode,
} from './virtio/driver-transport.js';
export type { DurableMemory } from './virtio/durable.js';
export { FeatureError } from './virtio/feature-error.js';
export type { Layout, ValuesOf } from './virtio/layout.js';
export type { LogContext } from './virtio/log-context.js';
export type { MakeDevice } from './virtio/make-device.js';
export type { Monitor, Print } from './virtio/monitor.js';
export { be16, be32, be64, be64big, s8, sle16 } from './virtio/other-numbers.js';
export { type Parameter, type Parameters, parameter, type Said } from './virtio/parameter.js';
export { ReplaceError } from './virtio/replace-error.js';
export type { RingFeatures } from './virtio/ring-features.js';
export { StateError } from './virtio/saved-state.js';
export type {
  DeviceSharedMemory,
  DriverSharedMemory,
  FileRange,
  SharedMemorySpec,
} from './virtio/shared-memory.js';
export {
  bytes,
  type Field,
  type Fields,
  le16,
  le32,
  le64,
  le64big,
  Struct,
  type StructOf,
  sle32,
  struct,
  text,
  u8,
  type Values,
} from './virtio/struct.js';
export { type RequestQueue, type Response, type StructQueue, structQueue } from './virtio/struct-queue.js';
export { tail } from './virtio/tail.js';
export { type BenchOptions, DeviceBench } from './virtio/testing/device-bench.js';
export { FakeClock } from './virtio/testing/fake-clock.js';
export { type Arms, Union, type UnionValues, union } from './virtio/union.js';
export { type MakeWithOptions, withOptions } from './virtio/with-options.js';
export type { Chain } from './virtqueue/chain.js';
export type { Answer, PoliteDriver } from './virtqueue/testing/polite-driver.js';
export { VirtqueueError } from './virtqueue/virtqueue-error.js';
