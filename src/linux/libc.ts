import koffi from 'koffi';

/*
 * The C library, as plain functions of numbers: addresses are numbers too (user space ends far below 2^53), so a call
 * allocates nothing. A result of -1 leaves the reason in `koffi.errno()`, to be read before any other call.
 * `null` names the C library that Node itself is linked to, glibc or musl. There is no `ssize_t` in koffi: it is int64_t.
 */
const library = koffi.load(null);

function declare<Call extends (...args: number[]) => number>(prototype: string): Call {
  return library.func(prototype) as unknown as Call;
}

type One = (a: number) => number;
type Two = (a: number, b: number) => number;
type Three = (a: number, b: number, c: number) => number;
type Four = (a: number, b: number, c: number, d: number) => number;
type Five = (a: number, b: number, c: number, d: number, e: number) => number;
type Six = (a: number, b: number, c: number, d: number, e: number, f: number) => number;

export const close: One = declare('int close(int fd)');
export const read: Three = declare('int64_t read(int fd, uintptr_t bytes, size_t size)');
export const write: Three = declare('int64_t write(int fd, uintptr_t bytes, size_t size)');
// Variadic in C; on Linux an int argument travels the same way whether or not it is.
export const fcntl: Three = declare('int fcntl(int fd, int command, int argument)');

export const epoll_create1: One = declare('int epoll_create1(int flags)');
export const epoll_ctl: Four = declare('int epoll_ctl(int epoll, int operation, int fd, uintptr_t event)');
export const epoll_wait: Four = declare('int epoll_wait(int epoll, uintptr_t events, int most, int timeout)');

export const pipe2: Two = declare('int pipe2(uintptr_t fds, int flags)');

export const eventfd: Two = declare('int eventfd(uint32_t initial, int flags)');
export const timerfd_create: Two = declare('int timerfd_create(int clock, int flags)');
export const timerfd_settime: Four = declare(
  'int timerfd_settime(int fd, int flags, uintptr_t value, uintptr_t old)',
);
export const clock_gettime: Two = declare('int clock_gettime(int clock, uintptr_t time)');

export const socket: Three = declare('int socket(int domain, int type, int protocol)');
export const socketpair: Four = declare('int socketpair(int domain, int type, int protocol, uintptr_t fds)');
export const bind: Three = declare('int bind(int fd, uintptr_t address, uint32_t size)');
export const listen: Two = declare('int listen(int fd, int backlog)');
export const connect: Three = declare('int connect(int fd, uintptr_t address, uint32_t size)');
export const accept4: Four = declare('int accept4(int fd, uintptr_t address, uintptr_t size, int flags)');
export const getpeername: Three = declare('int getpeername(int fd, uintptr_t address, uintptr_t size)');
export const getsockopt: Five = declare(
  'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t size)',
);
export const setsockopt: Five = declare(
  'int setsockopt(int fd, int level, int option, uintptr_t value, uint32_t size)',
);
export const shutdown: Two = declare('int shutdown(int fd, int how)');
export const recv: Four = declare('int64_t recv(int fd, uintptr_t bytes, size_t size, int flags)');
export const sendmsg: Three = declare('int64_t sendmsg(int fd, uintptr_t message, int flags)');
export const recvmsg: Three = declare('int64_t recvmsg(int fd, uintptr_t message, int flags)');

export const memfd_create: Two = declare('int memfd_create(uintptr_t name, uint32_t flags)');
export const ftruncate: Two = declare('int ftruncate(int fd, int64_t size)');
export const mmap: Six = declare(
  'int64_t mmap(uintptr_t at, size_t size, int protection, int flags, int fd, int64_t offset)',
);
export const munmap: Two = declare('int munmap(uintptr_t at, size_t size)');
export const madvise: Three = declare('int madvise(uintptr_t at, size_t size, int advice)');
export const memcpy: Three = declare('uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t size)');
// Variadic in C, as fcntl.
export const prctl: Two = declare('int prctl(int option, uintptr_t argument)');
export const flock: Two = declare('int flock(int fd, int operation)');

export const getpagesize: () => number = declare('int getpagesize()');
