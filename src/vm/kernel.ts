/** A kernel, and what it takes to build modules for it. */
export interface Kernel {
  /** Such as `6.1.0-50-cloud-amd64`: what `uname -r` says in the guest. */
  readonly release: string;
  /** Differs from that of any other kernel, of the same release too. */
  readonly id: string;
  /** The ELF kernel, with a PVH entry. */
  readonly vmlinux: string;
  /** Folder of the kernel's own modules that a guest of ours can use, when it has any. */
  readonly modules?: string;
  /** Finds or fetches the folder of all modules that come with it, unpacked; absent for a kernel that comes with none. */
  allModules?(): Promise<string>;
  /** The folder to give to `make -C`. */
  readonly headers: string;
  /** A static busybox. */
  readonly busybox: string;
  /** What it takes to boot it: more than usual for one that checks everything. */
  readonly needs?: KernelNeeds;
}

export interface KernelNeeds {
  /** MiB. */
  readonly memory: number;
  /** How many times longer everything takes. */
  readonly slowness: number;
  /** For its command line. */
  readonly params: readonly string[];
}

/** What a kernel with all its checks needs: on a busy machine it is slow enough to be taken for one that hangs. */
export const CHECKS: KernelNeeds = {
  memory: 1024,
  slowness: 10,
  params: [
    'rcupdate.rcu_cpu_stall_timeout=300',
    'watchdog_thresh=60',
    'workqueue.watchdog_thresh=300',
    'sysctl.kernel.hung_task_timeout_secs=240',
  ],
};
