/*
 * What the yardsticks need of vhost-user and of the split virtqueue: the messages as they travel, and the ring's layout.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_PROTOCOL_FEATURES (1ull << 30)
#define F_VERSION_1 (1ull << 32)
#define PROTOCOL_F_REPLY_ACK (1ull << 3)

#define FLAG_VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u

struct region {
	uint64_t guest, size, user, offset;
};

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t descriptor, used, available, log;
		} addresses;
		struct {
			uint32_t count, padding;
			struct region regions[8];
		} memory;
	};
} __attribute__((packed));

#define HEADER 12
#define MAX_FDS 8

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define DESC_F_INDIRECT 4

struct used_elem {
	uint32_t id, len;
};

/* A split virtqueue, wherever its three areas are. */
struct ring {
	struct desc *desc;
	uint16_t *avail; /* flags, idx, ring[size], used_event */
	uint16_t *used;	 /* flags, idx, elements, avail_event */
	uint16_t size;
};

static inline uint16_t *avail_idx(struct ring *r) { return r->avail + 1; }
static inline uint16_t *avail_slot(struct ring *r, uint16_t at) { return r->avail + 2 + (at & (r->size - 1)); }
static inline uint16_t *used_event(struct ring *r) { return r->avail + 2 + r->size; }
static inline uint16_t *used_idx(struct ring *r) { return r->used + 1; }
static inline struct used_elem *used_slot(struct ring *r, uint16_t at)
{
	return (struct used_elem *)(r->used + 2) + (at & (r->size - 1));
}
static inline uint16_t *avail_event(struct ring *r) { return (uint16_t *)((struct used_elem *)(r->used + 2) + r->size); }

static inline uint16_t load16(uint16_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void store16(uint16_t *at, uint16_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* Whether `event` lies in what became visible between `before` and `now`. */
static inline int passes(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Receives one message and up to MAX_FDS descriptors. Returns 0 when the other side is gone. */
static inline int receive(int socket, struct message *m, int *fds, int *count)
{
	union {
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {m, HEADER};
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	if (recvmsg(socket, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC) != HEADER)
		return 0;
	*count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
	}
	if (m->size > sizeof(*m) - HEADER)
		return 0;
	return m->size == 0 || recv(socket, (char *)m + HEADER, m->size, MSG_WAITALL) == (ssize_t)m->size;
}

/* Sends one message, with a descriptor unless that is -1. */
static inline void transmit(int socket, struct message *m, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {m, HEADER + m->size};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	memset(&control, 0, sizeof(control));
	if (fd != -1) {
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(socket, &header, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		die("sendmsg");
}

/* A front-end's request. @return the answer's number, 0 where none is asked for. */
static inline uint64_t ask(int socket, uint32_t request, uint64_t value, uint32_t size, int fd, int reply)
{
	struct message m = {.request = request, .flags = FLAG_VERSION, .size = size, .u64 = value};
	int fds[MAX_FDS], count;
	transmit(socket, &m, fd);
	if (!reply)
		return 0;
	if (!receive(socket, &m, fds, &count))
		die("the back end left");
	return m.u64;
}

/* A connection to a back end, which may have been started at the same time. */
static inline int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int tries = 0; tries < 2000; tries++) {
		int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(end, (struct sockaddr *)&address, sizeof(address)) == 0)
			return end;
		if (errno != ENOENT && errno != ECONNREFUSED)
			break;
		close(end);
		usleep(10000);
	}
	die(path);
	return -1;
}
