/*
 * What the inspector's page gets and sends.
 *
 * GET  /?token=T            the printed address. The token is good once: the answer sets a cookie and leads to `/`.
 * GET  /, /assets/...       the page's files.
 * GET  /api/events?source=S server-sent events. `hello` comes first, with a `Hello`; then `frame`, each a `Frame`: some 20 a second while something
 *                           changes (10 where more passes than can be told of), at least one a second; `bye` with `{ "reason": string }` when the server ends. A page that reads too slowly misses frames,
 *                           never a part of one. EventSource's own reconnection starts with a new `hello`, which replaces all that the page has.
 * GET  /api/timeline?source=S&connection=C&queue=Q&from=NS&to=NS&limit=N   a `TimelineAnswer`.
 * GET  /api/chain?source=S&connection=C&queue=Q&id=ID                      a `ChainDetail`.
 * POST /api/command         a `Command` as `application/json`, 64 KiB at most; answered with a `CommandAnswer`.
 * POST /api/recording?name=NAME   the bytes of a recording (`application/octet-stream`, 256 MiB at most); answered with `{ "source": string }`.
 *                           There is room for one: the next takes its place.
 *
 * `source` is `live`, or what `/api/recording` returned; without it, it is the first of `Hello.sources`. Whatever goes wrong is a status of 400 and above with
 * `{ "error": string }`, one line for people. Nothing else than the page itself, with its cookie, is answered.
 *
 * All times are ns as numbers, of the server's clock: it begins with the server and never goes back. All texts are what a peer or a device said: show
 * them as text, never as markup; they hold no control characters. Bytes are hex, two digits each.
 */

/** The first event of a stream. */
export interface Hello {
  /** Of this protocol: 1. */
  readonly version: 1;
  /** This page's number, for `view`. */
  readonly client: number;
  /** Which source this stream is of. */
  readonly source: string;
  readonly sources: readonly Source[];
  /** What is served: for the title. */
  readonly title: string;
  /** The time now; in a recording, of its last event. */
  readonly time: number;
  /** The first time that there is anything of. */
  readonly start: number;
  /** What time 0 was, ms since 1970. */
  readonly epoch: number;
  /** All that is known so far: what frames change later. */
  readonly state: Frame;
}

/** What can be looked at. */
export interface Source {
  readonly id: string;
  readonly kind: 'live' | 'recording';
  /** `demo`, or the file's name. */
  readonly name: string;
  /** Of a recording that is cut or damaged: read up to where, and why no further. */
  readonly damage?: string;
}

/** What changed. What is absent did not change. */
export interface Frame {
  readonly time: number;
  /** 1, 2, 3... for this page; some are missing where the page was too slow. */
  readonly number: number;
  /** Frames that this page missed so far: it read too slowly. Their `items` are to be had from `/api/timeline`. */
  readonly missed: number;
  /** Connections that are new or changed, each whole. Those that went stay, up to 16, with `gone`. */
  readonly connections?: readonly ConnectionState[];
  /** Connections that are forgotten. */
  readonly forgotten?: readonly number[];
  /** Queues that are new or changed, each whole but for its ring. */
  readonly queues?: readonly QueueState[];
  /** Samples of the rings that `view` asked for; never in recordings, which have no memory. */
  readonly rings?: readonly RingSample[];
  /**
   * In order of their `id`. One whose `id` was there before replaces it. Bounded for each frame; what did not fit is in `gap` items.
   * In a `hello`, the last 500 of each queue.
   */
  readonly items?: readonly TimelineItem[];
  /** New points of plots. In a `hello`, all that are kept: 1200 for each queue. */
  readonly points?: readonly PlotPoint[];
  /** All holds, whenever one changes. */
  readonly holds?: readonly Hold[];
  /** All breakpoints, whenever one changes. */
  readonly breakpoints?: readonly Breakpoint[];
}

/** One front-end with its device. */
export interface ConnectionState {
  /** 1, 2, 3... */
  readonly connection: number;
  readonly socket: string;
  /** `vhost-user`, `vfio-user`, `loopback`. */
  readonly transport: string;
  readonly device: { readonly id: number; readonly name: string };
  /** When it came. */
  readonly since: number;
  /** When it went. */
  readonly gone?: number;
  /** How it broke the protocol, if that is why. */
  readonly error?: string;
  /** `waiting` until the driver is ready. */
  readonly life: 'waiting' | 'running' | 'paused' | 'reset' | 'gone';
  /** Why the device, or one of its queues, is broken until a reset. */
  readonly broken?: string;
  /** All that are offered or accepted, ascending. Before the driver accepted any, only the device's own bits are known. */
  readonly features: readonly FeatureState[];
  /** The driver has accepted features. */
  readonly negotiated: boolean;
  /** The status' last value; `undefined` where the front-end does not tell. */
  readonly status?: number;
  /** What happened from the start: the last 64 steps. */
  readonly steps: readonly StatusStep[];
  readonly config: ConfigState;
  readonly queues: readonly { readonly queue: number; readonly name: string }[];
  /** How often edited code took the device's place. */
  readonly replaced: number;
}

/** A feature bit. */
export interface FeatureState {
  readonly bit: number;
  /** `VIRTIO_F_VERSION_1`, `VIRTIO_BLK_F_RO`; `bit 77` where it has no name. */
  readonly name: string;
  readonly offered: boolean;
  /** Offered and not accepted: refused, once `negotiated`. */
  readonly accepted: boolean;
}

/** A step of a device's life. */
export interface StatusStep {
  readonly time: number;
  /**
   * `connected`, `features`, `status`, `running`, `paused`, `reset`, `queue-started`, `queue-stopped`, `broken`, `replaced`, `gone`. With a keeper also `died` and
   * `yielded`: its process is not there any more, and `goes-on`: another one is.
   */
  readonly what: string;
  /** For people: `ACKNOWLEDGE DRIVER`, `controlq: 128 descriptors, packed`. */
  readonly text: string;
}

/** A device's configuration space. */
export interface ConfigState {
  /** All of it. */
  readonly bytes: string;
  /** What it means, where that is known: else empty. */
  readonly fields: readonly FieldView[];
  /** The last 16. */
  readonly changes: readonly ConfigChange[];
  /** How often the driver read it. */
  readonly reads: number;
}

/** Bytes of a configuration space that changed. */
export interface ConfigChange {
  readonly time: number;
  readonly by: 'driver' | 'device';
  readonly offset: number;
  /** From `offset` on, as they are since. */
  readonly bytes: string;
}

/** What bytes mean: a tree. */
export interface FieldView {
  readonly name: string;
  /** From the first of the bytes shown. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** `le32`, `text(16)`, `struct`, `tail`, ... */
  readonly type: string;
  /** For people: `77`, `0x1000`, `SET_TIMER (1)`, `"eth0"`. Absent where there are `fields`. At most 300 characters. */
  readonly value?: string;
  /** Of a struct, an array, an arm. 256 at most. */
  readonly fields?: readonly FieldView[];
}

/** One queue of a connection. */
export interface QueueState {
  readonly connection: number;
  readonly queue: number;
  readonly name: string;
  /** It has a ring. */
  readonly running: boolean;
  readonly broken?: { readonly rule?: string; readonly error: string };
  readonly layout?: 'split' | 'packed';
  /** Descriptors. */
  readonly size?: number;
  readonly eventIdx?: boolean;
  readonly indirect?: boolean;
  readonly inOrder?: boolean;
  /** Guest-physical. */
  readonly areas?: { readonly descriptor: number; readonly driver: number; readonly device: number };
  /** Since the connection came. */
  readonly counts: QueueCounts;
  /** What may be used in a breakpoint's `when`, of its requests: `type`, `body.delay_ms`, ... */
  readonly names: readonly string[];
}

/** How often, since the connection came; of all chains, whether or not they are shown. */
export interface QueueCounts {
  /** Chains that the device took, and handed back. */
  readonly taken: number;
  readonly used: number;
  readonly kicks: number;
  readonly interrupts: number;
  /** Interrupts that the driver did not want. */
  readonly suppressed: number;
  /** Times that the device took at least one chain without a kick since it last looked: it was polling, or still at it. */
  readonly unkicked: number;
  /** Chains that are not shown one by one: there were too many. */
  readonly unseen: number;
}

/**
 * A ring as it lies in memory at one moment, as far as one moment can be had: the driver may be writing. It is looked at by the server some 20 times a second.
 * Entries are told of from `first` on, `entries` of them, modulo the size: all of them up to 256, of a larger ring 256 around what is going on.
 */
export type RingSample = SplitSample | PackedSample | NoSample;

interface OfRing {
  readonly connection: number;
  readonly queue: number;
  readonly time: number;
  readonly size: number;
  readonly first: number;
  readonly entries: number;
  /** What the device holds: the 256 oldest. Those with a `chain` are told of in the timeline, too. */
  readonly inFlight: readonly { readonly head: number; readonly taken?: number; readonly id?: number }[];
  /** How many it holds in all. */
  readonly inFlightCount: number;
  /** Chains that were made available and not taken. */
  readonly waiting: number;
  /** The driver wants to be interrupted, for all or from `usedEvent` on; the device wants to be kicked. */
  readonly wants: { readonly interrupts: boolean; readonly kicks: boolean };
}

/** Addresses are exact up to 2^53. */
export interface SplitSample extends OfRing {
  readonly layout: 'split';
  /** Of the descriptor table: address, bytes, flags (1 NEXT, 2 WRITE, 4 INDIRECT), next. */
  readonly descriptors: readonly (readonly [address: number, length: number, flags: number, next: number])[];
  readonly available: {
    readonly flags: number;
    /** 0..65535: the slot is this modulo the size. */
    readonly index: number;
    /** Where the device goes on. */
    readonly next: number;
    /** Heads, by slot. */
    readonly ring: readonly number[];
    /** With EVENT_IDX: the driver wants an interrupt after this used index. */
    readonly usedEvent?: number;
  };
  readonly used: {
    readonly flags: number;
    readonly index: number;
    /** By slot. */
    readonly ring: readonly (readonly [id: number, length: number])[];
    /** With EVENT_IDX: the device wants a kick after this available index. */
    readonly availEvent?: number;
  };
}

/** A packed ring. */
export interface PackedSample extends OfRing {
  readonly layout: 'packed';
  /** Address, bytes, buffer id, flags (1 NEXT, 2 WRITE, 4 INDIRECT, 0x80 AVAIL, 0x8000 USED). */
  readonly descriptors: readonly (readonly [address: number, length: number, id: number, flags: number])[];
  /** Where the device takes the next one, and puts the next used one. */
  readonly available: { readonly offset: number; readonly wrap: boolean };
  readonly used: { readonly offset: number; readonly wrap: boolean };
  /** The event suppression areas; flags: 0 all, 1 none, 2 the descriptor at `offset`. */
  readonly driverEvent: { readonly offset: number; readonly wrap: boolean; readonly flags: number };
  readonly deviceEvent: { readonly offset: number; readonly wrap: boolean; readonly flags: number };
}

/** A ring that can't be looked at. */
export interface NoSample {
  readonly connection: number;
  readonly queue: number;
  readonly time: number;
  readonly layout: 'none';
  /** `its memory is reached by messages`, `it has no ring`, ... */
  readonly reason: string;
}

/** What an item is of; `queue` is absent where it is of the device as a whole. */
interface OfItem {
  /** 1, 2, 3... within a source, in the order of their times but for those that are replaced. */
  readonly id: number;
  readonly time: number;
  readonly connection: number;
  readonly queue?: number;
}

/** Something that happened. */
export type TimelineItem = KickItem | ChainItem | InterruptItem | LineItem | EventItem | BrokenItem | GapItem;

/** The driver kicked. */
export interface KickItem extends OfItem {
  readonly type: 'kick';
}

/** A request. It is told of when it is handed back, and once more when what became of its interrupt is known; held ones and those in flight are in the ring. */
export interface ChainItem extends OfItem {
  readonly type: 'chain';
  /** When it was taken. `time` is the same. */
  readonly taken: number;
  /** When it was seen to be available; `undefined` where nobody knows. A little later than when the driver did it. */
  readonly available?: number;
  /** When it was handed back. Absent while the device has it (only in a `hello` or `/api/timeline`). */
  readonly used?: number;
  /** When the driver was interrupted for it, or would have been: it did not want it. */
  readonly interrupt?: number;
  readonly suppressed?: boolean;
  /** 1, 2, 3... from when the queue was started, in this process. */
  readonly chain: number;
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  readonly written?: number;
  /** What it is, in at most 120 characters: `SET_TIMER delay_ms 500 request_id 1`. */
  readonly text: string;
}

/** The driver was interrupted, or did not want to be. Without a queue it is for the configuration. */
export interface InterruptItem extends OfItem {
  readonly type: 'interrupt';
  readonly suppressed: boolean;
}

/** `line`: the device printed it. `warning`: about what a peer or the device did wrong. `text` may have 64 KiB. */
export interface LineItem extends OfItem {
  readonly type: 'line' | 'warning';
  readonly text: string;
}

/** Anything else: `what` as in `StatusStep`, and `config`, `alarm`, `hold`, `release`. */
export interface EventItem extends OfItem {
  readonly type: 'event';
  readonly what: string;
  readonly text: string;
}

/** A queue broke, or (without one) the device. */
export interface BrokenItem extends OfItem {
  readonly type: 'broken';
  /** The section of VIRTIO 1.3. */
  readonly rule?: string;
  readonly error: string;
}

/** From `time` to `to`, so many chains, kicks, interrupts and lines are not told of one by one. */
export interface GapItem extends OfItem {
  readonly type: 'gap';
  readonly to: number;
  readonly chains: number;
  readonly others: number;
}

/** What `/api/timeline` answers: what is kept of a stretch of time. */
export interface TimelineAnswer {
  /** In order. The server keeps the last 2000 of each queue (of a recording: all of its first 300,000 events). */
  readonly items: readonly TimelineItem[];
  /** So many more are there than `limit` (2000 unless told, 10000 at most): evenly left out. */
  readonly omitted: number;
  /** The oldest time of which anything is kept. */
  readonly start: number;
  /** The same of each queue, and of the device as a whole, of which older things are forgotten. */
  readonly kept: readonly Kept[];
}

/** From when on the server has what happened to a queue, or (without one) to the device. */
export interface Kept {
  readonly connection: number;
  readonly queue?: number;
  readonly from: number;
}

/** All about one chain. `id` is its item's. */
export interface ChainDetail {
  readonly id: number;
  readonly item: ChainItem;
  readonly queueName: string;
  readonly descriptors: readonly {
    readonly address: number;
    readonly length: number;
    readonly writable: boolean;
  }[];
  readonly request: BytesView;
  /** Absent while the device has it. */
  readonly response?: BytesView;
}

/** Bytes of a chain. */
export interface BytesView {
  /** The first of them: what is kept, 4096 at most. */
  readonly bytes: string;
  /** How many there are (of a response: were written). */
  readonly length: number;
  /** What they mean by the device's shapes; empty where it has none, or they do not fit. */
  readonly fields: readonly FieldView[];
}

/** What a queue did in a stretch of time: 250 ms; of a recording 1/600 of its length, at least 1 ms. */
export interface PlotPoint {
  readonly connection: number;
  readonly queue: number;
  /** Its end. */
  readonly time: number;
  /** ns. */
  readonly span: number;
  /** In it, of all chains. */
  readonly used: number;
  readonly taken: number;
  readonly kicks: number;
  readonly interrupts: number;
  readonly suppressed: number;
  readonly unkicked: number;
  /** At its end. */
  readonly inFlight: number;
  readonly waiting: number;
  /** Bytes read and written; of those that were shown, times how many there were. */
  readonly read: number;
  readonly written: number;
  /** Of the chains that were shown, ns; absent where there was none. */
  readonly latency?: Latency;
}

/** Parts of the time from when a chain was seen available until the driver was interrupted for it. */
export interface Latency {
  /** Chains that this is of. */
  readonly of: number;
  /** In the ring: seen available until taken. */
  readonly waiting?: Quantiles;
  /** In the device: taken until handed back. */
  readonly device: Quantiles;
  /** Handed back until interrupted. */
  readonly interrupt?: Quantiles;
  readonly total?: Quantiles;
}

/** ns. */
export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * A queue that is held: its chains stay in the ring, where they are, and the guest waits. The device keeps those that it has, and can hand them back.
 * A reset ends it, and so does the end of the connection; a device that is replaced stays held, also by another process. When no page has been connected for 10 s all holds end, and breakpoints sleep.
 */
export interface Hold {
  readonly connection: number;
  readonly queue: number;
  readonly since: number;
  /** Who did it. */
  readonly by: 'person' | 'breakpoint' | 'broken';
  /** Which one. */
  readonly breakpoint?: number;
  /** For people: `type == 77`. */
  readonly reason: string;
  /** Chains that wait, this one too. */
  readonly waiting: number;
  /** The next one, before the device sees it; absent when none waits, or it can't be seen (`unseen`). */
  readonly next?: HeldNext;
  readonly unseen?: string;
}

/** The chain that a held queue would give the device next. */
export interface HeldNext {
  /** Which it will be. */
  readonly chain: number;
  /** Absent of one that breaks a rule: its driver may have named any. */
  readonly head?: number;
  readonly readable: number;
  readonly writable: number;
  readonly descriptors: ChainDetail['descriptors'];
  readonly request: BytesView;
  readonly text: string;
  /** The driver broke this rule with it: taking it breaks the queue. Then there are no bytes. */
  readonly broken?: { readonly rule?: string; readonly error: string };
}

/** When to hold a queue: before the device sees the chain. */
export interface Breakpoint {
  readonly id: number;
  /** Of any connection unless told. */
  readonly connection?: number;
  /** Of any queue unless told: a queue's name. */
  readonly queue?: string;
  readonly on: BreakpointOn;
  readonly enabled: boolean;
  /** How often it held a queue. */
  readonly hits: number;
  /** How often `when` could not be asked, since a request has no such field, and for which last. */
  readonly misfits: number;
}

/** What holds it. */
export type BreakpointOn =
  /** Each chain. */
  | { readonly kind: 'any' }
  /**
   * A chain of whose request this is true: `type == 77`, `type == SET_TIMER && body.delay_ms > 100`, `data[0] & 0x80`. `==`, `!=`, `<`, `<=`, `>`, `>=`, `&` (any of these
   * bits), joined with `&&`, `||` and brackets. Left a field, by the names of `QueueState.names` (a name alone is found wherever it is), or `$readable`, `$writable`, `$chain`, `$head`;
   * right a number (decimal, hex), a text in quotes, or the name of an arm. 500 characters at most.
   */
  | { readonly kind: 'when'; readonly when: string }
  /** A chain that breaks a rule: before it breaks the queue. */
  | { readonly kind: 'broken' }
  /** The n-th chain from when the queue was started, or from now on with `from: 'now'`. A process that goes on for another counts anew. */
  | { readonly kind: 'chain'; readonly n: number; readonly from?: 'start' | 'now' };

/** What a page asks for. Recordings take `view` alone. */
export type Command =
  /** Which rings this page wants to see, 8 at most; the first two of the first connection unless told. */
  | {
      readonly command: 'view';
      readonly client: number;
      readonly rings: readonly { readonly connection: number; readonly queue: number }[];
    }
  /** Holds a queue; all of the device without one. Nothing changes for those that are held. */
  | { readonly command: 'hold'; readonly connection: number; readonly queue?: number }
  /** Gives the device so many chains (1 unless told, 1000 at most), and holds on. One that a breakpoint hits stops it sooner. */
  | {
      readonly command: 'step';
      readonly connection: number;
      readonly queue: number;
      readonly chains?: number;
    }
  /** Lets it go on; all of the device without a queue, everything without a connection. */
  | { readonly command: 'release'; readonly connection?: number; readonly queue?: number }
  | {
      readonly command: 'break';
      readonly connection?: number;
      readonly queue?: string;
      readonly on: BreakpointOn;
    }
  | { readonly command: 'enable'; readonly breakpoint: number; readonly enabled: boolean }
  | { readonly command: 'unbreak'; readonly breakpoint: number };

/** What became of it; what it changed comes in frames, too. */
export type CommandAnswer = { readonly ok: true; readonly breakpoint?: number };
