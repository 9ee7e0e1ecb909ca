/** The other side broke a rule of the ring: the queue is unusable until it is reset (VIRTIO 1.3 §2.1.2). */
export class VirtqueueError extends Error {
  override readonly name = 'VirtqueueError';
  /** Which rule, stable across versions, such as `DESCRIPTOR_LOOP`. */
  readonly code: string;
  /** The section of VIRTIO 1.3 that was broken, such as `2.7.5.1`; or another document and its section. */
  readonly section: string;

  /** @param message - what was wrong and where, with the numbers that were read. */
  constructor(code: string, section: string, message: string) {
    super(`${message} (${/^\d/.test(section) ? 'VIRTIO §' : ''}${section})`);
    this.code = code;
    this.section = section;
  }
}
