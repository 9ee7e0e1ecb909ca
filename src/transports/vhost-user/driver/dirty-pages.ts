import type { GuestAddress } from '../../../memory/address.js';
import type { Mapping, Os } from '../../ports.js';
import { PageLog } from '../page-log.js';
import type { LogDescription } from '../payloads.js';

/** Bytes of a page: the log has its size from whole ones. */
const PAGE = 4096;

/** Memory of ours in which a back-end marks the pages that it writes to. */
export class DirtyPages {
  /** To be sent; it stays this object's. */
  readonly fd: number;
  readonly description: LogDescription;
  readonly #os: Os;
  readonly #mapping: Mapping;
  readonly #log: PageLog;

  /**
   * @param end - one past the last guest address that it is for.
   * @throws OsError when there is no memory for it.
   */
  constructor(os: Os, end: number) {
    const size = Math.ceil(PageLog.size(end) / PAGE) * PAGE;
    const { fd, mapping } = os.createMemory('virtio-misc-log', size);
    this.#os = os;
    this.fd = fd;
    this.description = { size, offset: 0 };
    this.#mapping = mapping;
    this.#log = new PageLog(mapping.view);
  }

  /** Takes the marks away. @returns the addresses of the pages that had one, ascending. */
  take(): GuestAddress[] {
    return this.#log.take();
  }

  close(): void {
    this.#mapping.release();
    this.#os.closeFd(this.fd);
  }
}
