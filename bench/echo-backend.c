/*
 * A vhost-user back end that answers requests of 48 bytes with 12, as virtio-test does: an epoll loop and the kind of ring code
 * that libvhost-user has. It serves one front-end after another.
 *
 *   echo-backend POLL_US elements|fused SOCKET
 *
 * It goes on looking at the ring for so long after the last request, with kicks suppressed, before it sleeps; with 0 it sleeps at once.
 * With `elements` each request is an element of its own, allocated, as libvhost-user has it: a device could keep it and hand it back
 * later, in any order. With `fused` ring and device are one piece of code, for this device only, in which nothing can be kept. Both check
 * what a driver can do wrong.
 */
#define _GNU_SOURCE
#include "vhost-user.h"
#include <sys/epoll.h>
#include <sys/mman.h>

#define MOST 1024 /* descriptors of a chain */

static struct {
	uint64_t guest, size, user;
	char *at;
	size_t mapped;
	char *base;
} regions[8];
static int region_count;
static struct ring ring;
static uint64_t features, poll_ns;
static int kick = -1, call = -1, epoll, serving;
static uint16_t next_avail, next_used;
static struct iovec in[MOST], out[MOST];
static int fused;

/* A request. */
struct element {
	unsigned head, ins, outs;
	struct iovec iov[]; /* those to read, then those to write */
};

static void *guest(uint64_t address, uint64_t size)
{
	for (int i = 0; i < region_count; i++)
		if (address >= regions[i].guest && address - regions[i].guest < regions[i].size &&
		    size <= regions[i].size - (address - regions[i].guest))
			return regions[i].at + (address - regions[i].guest);
	return NULL;
}

static void *user(uint64_t address)
{
	for (int i = 0; i < region_count; i++)
		if (address >= regions[i].user && address - regions[i].user < regions[i].size)
			return regions[i].at + (address - regions[i].user);
	return NULL;
}

static void unmap(void)
{
	for (int i = 0; i < region_count; i++)
		munmap(regions[i].base, regions[i].mapped);
	region_count = 0;
}

static void map(struct message *m, int *fds, int count)
{
	unmap();
	for (int i = 0; i < count && i < (int)m->memory.count; i++) {
		struct region r = m->memory.regions[i];
		char *at = mmap(NULL, r.size + r.offset, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		if (at == MAP_FAILED)
			die("mmap");
		close(fds[i]);
		regions[region_count].guest = r.guest;
		regions[region_count].size = r.size;
		regions[region_count].user = r.user;
		regions[region_count].base = at;
		regions[region_count].mapped = r.size + r.offset;
		regions[region_count++].at = at + r.offset;
	}
}

static size_t gather(struct iovec *iov, int count, void *into, size_t size)
{
	size_t done = 0;
	for (int i = 0; i < count && done < size; i++) {
		size_t here = iov[i].iov_len < size - done ? iov[i].iov_len : size - done;
		memcpy((char *)into + done, iov[i].iov_base, here);
		done += here;
	}
	return done;
}

static size_t scatter(struct iovec *iov, int count, const void *from, size_t size)
{
	size_t done = 0;
	for (int i = 0; i < count && done < size; i++) {
		size_t here = iov[i].iov_len < size - done ? iov[i].iov_len : size - done;
		memcpy(iov[i].iov_base, (const char *)from + done, here);
		done += here;
	}
	return done;
}

static void broken(const char *why)
{
	fprintf(stderr, "echo-backend: %s\n", why);
	exit(1);
}

/* Finds what a chain consists of and fills in[] and out[]. */
static void walk(unsigned head, unsigned *in_count, unsigned *out_count)
{
	unsigned ins = 0, outs = 0, entries = ring.size, left = ring.size, at = head;
	struct desc *table = ring.desc;
	uint64_t bytes_in_all = 0;
	if (head >= ring.size)
		broken("head index");
	for (;;) {
		struct desc d = *(volatile struct desc *)&table[at];
		if (left-- == 0)
			broken("loop");
		if (d.flags & DESC_F_INDIRECT) {
			if (table != ring.desc || d.flags & DESC_F_NEXT || d.len == 0 || d.len % sizeof(struct desc))
				broken("indirect descriptor");
			table = guest(d.addr, d.len);
			if (table == NULL)
				broken("indirect table");
			left = entries = d.len / sizeof(struct desc);
			at = 0;
			continue;
		}
		bytes_in_all += d.len;
		void *bytes = guest(d.addr, d.len);
		if (bytes == NULL || d.len == 0 || ins + outs == MOST || bytes_in_all > UINT32_MAX)
			broken("descriptor");
		struct iovec v = {bytes, d.len};
		if (d.flags & DESC_F_WRITE)
			out[outs++] = v;
		else if (outs > 0)
			broken("readable after writable");
		else
			in[ins++] = v;
		if (!(d.flags & DESC_F_NEXT))
			break;
		at = d.next;
		if (at >= entries)
			broken("next index");
	}
	*in_count = ins;
	*out_count = outs;
}

static struct element *pop(void)
{
	unsigned ins, outs, head = *avail_slot(&ring, next_avail++);
	walk(head, &ins, &outs);
	struct element *e = malloc(sizeof(struct element) + (ins + outs) * sizeof(struct iovec));
	if (e == NULL)
		die("malloc");
	e->head = head;
	e->ins = ins;
	e->outs = outs;
	memcpy(e->iov, in, ins * sizeof(struct iovec));
	memcpy(e->iov + ins, out, outs * sizeof(struct iovec));
	return e;
}

static void push(unsigned head, uint32_t written)
{
	struct used_elem *slot = used_slot(&ring, next_used++);
	slot->id = head;
	slot->len = written;
}

/* The device. Returns how many bytes it wrote. */
static uint32_t answer(struct iovec *readable, unsigned ins, struct iovec *writable, unsigned outs)
{
	int32_t request[12], reply[3];
	if (gather(readable, ins, request, sizeof(request)) < sizeof(request))
		return 0;
	for (int i = 0; i < 3; i++)
		reply[i] = request[1 + i] + 100;
	return scatter(writable, outs, reply, sizeof(reply));
}

static void serve_chain(void)
{
	if (fused) {
		unsigned ins, outs, head = *avail_slot(&ring, next_avail++);
		walk(head, &ins, &outs);
		push(head, answer(in, ins, out, outs));
		return;
	}
	struct element *e = pop();
	push(e->head, answer(e->iov, e->ins, e->iov + e->ins, e->outs));
	free(e);
}

/* Serves all there is. Returns whether there was any. */
static int serve(void)
{
	uint16_t idx = load16(avail_idx(&ring));
	if (idx == next_avail)
		return 0;
	if ((uint16_t)(idx - next_avail) > ring.size)
		broken("available index");
	uint16_t before = next_used;
	while (next_avail != idx)
		serve_chain();
	store16(used_idx(&ring), next_used);
	fence();
	int wanted = features & F_EVENT_IDX ? passes(*(volatile uint16_t *)used_event(&ring), next_used, before)
					    : !(*(volatile uint16_t *)ring.avail & 1);
	uint64_t one = 1;
	if (wanted && write(call, &one, 8) != 8)
		die("call");
	return 1;
}

/* Asks for kicks. Returns whether something came in meanwhile. */
static int enable_kicks(void)
{
	if (features & F_EVENT_IDX)
		*(volatile uint16_t *)avail_event(&ring) = next_avail;
	else
		*(volatile uint16_t *)ring.used = 0;
	fence();
	return load16(avail_idx(&ring)) != next_avail;
}

static int socket_waits(void)
{
	struct epoll_event event;
	return epoll_wait(epoll, &event, 1, 0) > 0 && event.data.fd != kick;
}

static void kicked(void)
{
	do {
		if (poll_ns == 0) {
			/* The front-end may have something to say, whatever its driver does. */
			for (unsigned looks = 1; serve(); looks++)
				if (looks % 4096 == 0 && socket_waits())
					break;
			continue;
		}
		uint64_t last = now_ns();
		for (unsigned looks = 1;; looks++) {
			if (serve()) {
				last = now_ns();
				if (looks % 4096 == 0 && socket_waits())
					break;
				continue;
			}
			relax();
			if (now_ns() - last > poll_ns)
				break;
		}
	} while (enable_kicks());
}

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static void drop(int *fd)
{
	if (*fd == -1)
		return;
	epoll_ctl(epoll, EPOLL_CTL_DEL, *fd, NULL);
	close(*fd);
	*fd = -1;
}

/* Returns 0 when the front-end is gone. */
static int carry_out(int socket)
{
	struct message m;
	int fds[MAX_FDS], count;
	if (!receive(socket, &m, fds, &count))
		return 0;
	int reply = 0;
	switch (m.request) {
	case GET_FEATURES:
		m.u64 = 1 | F_INDIRECT_DESC | F_EVENT_IDX | F_PROTOCOL_FEATURES | F_VERSION_1;
		reply = 1;
		break;
	case SET_FEATURES:
		features = m.u64;
		break;
	case GET_PROTOCOL_FEATURES:
		m.u64 = PROTOCOL_F_REPLY_ACK;
		reply = 1;
		break;
	case SET_MEM_TABLE:
		map(&m, fds, count);
		break;
	case SET_VRING_NUM:
		ring.size = m.state.num;
		break;
	case SET_VRING_BASE:
		next_avail = m.state.num;
		break;
	case SET_VRING_ADDR:
		ring.desc = user(m.addresses.descriptor);
		ring.avail = user(m.addresses.available);
		ring.used = user(m.addresses.used);
		if (!ring.desc || !ring.avail || !ring.used)
			broken("ring addresses");
		next_used = *used_idx(&ring);
		break;
	case SET_VRING_CALL:
		drop(&call);
		call = fds[0];
		break;
	case SET_VRING_KICK:
		drop(&kick);
		kick = fds[0];
		watch(kick);
		break;
	case SET_VRING_ENABLE:
		serving = m.state.num;
		if (serving)
			kicked();
		break;
	case GET_VRING_BASE:
		serving = 0;
		drop(&kick);
		m.state.num = next_avail;
		reply = 1;
		break;
	}
	if (!reply && !(m.flags & FLAG_NEED_REPLY))
		return 1;
	if (!reply)
		m.u64 = 0;
	m.flags = FLAG_VERSION | FLAG_REPLY;
	m.size = 8;
	transmit(socket, &m, -1);
	return 1;
}

static void serve_frontend(int socket)
{
	watch(socket);
	for (;;) {
		struct epoll_event events[4];
		int count = epoll_wait(epoll, events, 4, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == kick) {
				uint64_t signals;
				if (read(kick, &signals, 8) == 8 && serving)
					kicked();
			} else if (events[i].data.fd == socket && !carry_out(socket)) {
				drop(&kick);
				drop(&call);
				drop(&socket);
				unmap();
				return;
			}
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: echo-backend POLL_US elements|fused SOCKET\n");
		return 2;
	}
	fused = strcmp(argv[2], "fused") == 0;
	const char *path = argv[3];
	poll_ns = strtoull(argv[1], NULL, 10) * 1000;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(path);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 4) != 0)
		die(path);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (;;) {
		int socket = accept(listener, NULL, NULL);
		if (socket == -1)
			die("accept");
		serve_frontend(socket);
	}
}
