/*
 * A driver of virtio-misc behind a vhost-user front-end: it arms timers, cancels half of them, and takes the notifications of the rest.
 *
 *   timers-frontend SOCKET TIMERS HOLD_MS SPAN_MS
 *
 * All deadlines are HOLD_MS from the start and up to SPAN_MS later, by chance. Each timer that was not cancelled must be notified once, none
 * before its time. Prints a line of JSON.
 */
#define _GNU_SOURCE
#include "vhost-user.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define SIZE 256
#define SLOTS (SIZE / 2)
#define MEMORY (1 << 20)
#define GUEST 0x100000ull
#define QUEUE 0x10000 /* from one queue to the next: descriptors, AVAIL, USED, BUFFERS */
#define AVAIL 0x2000
#define USED 0x4000
#define BUFFERS 0x8000
#define BUFFER 64

enum { CANCEL_TIMER = 2, SET_TIMER_NS = 3 };
enum { OK = 0, NOT_FOUND = 4 };

struct request {
	uint32_t type, id; /* of a CANCEL_TIMER: type, reserved, id */
	uint64_t delay, interval;
};

struct queue {
	struct ring ring;
	char *buffers;
	int kick, call;
	uint16_t avail, shown, seen;
};

static char *memory;
static struct queue queues[2];
static int backend, epoll;

static void set_up_queue(uint64_t index)
{
	struct queue *q = &queues[index];
	char *at = memory + index * QUEUE;
	q->ring = (struct ring){(struct desc *)at, (uint16_t *)(at + AVAIL), (uint16_t *)(at + USED), SIZE};
	q->buffers = at + BUFFERS;
	q->kick = eventfd(0, EFD_CLOEXEC);
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, q->call, &event) != 0)
		die("epoll");
	ask(backend, SET_VRING_NUM, index | (uint64_t)SIZE << 32, 8, -1, 0);
	ask(backend, SET_VRING_BASE, index, 8, -1, 0);
	struct message m = {.request = SET_VRING_ADDR, .flags = FLAG_VERSION, .size = 40};
	m.addresses.index = index;
	m.addresses.descriptor = (uintptr_t)at;
	m.addresses.available = (uintptr_t)(at + AVAIL);
	m.addresses.used = (uintptr_t)(at + USED);
	transmit(backend, &m, -1);
	ask(backend, SET_VRING_CALL, index, 8, q->call, 0);
	ask(backend, SET_VRING_KICK, index, 8, q->kick, 0);
	ask(backend, SET_VRING_ENABLE, index | 1ull << 32, 8, -1, 0);
}

static void set_up(void)
{
	int file = memfd_create("timers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file == -1 || ftruncate(file, MEMORY) != 0)
		die("memfd");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t wanted = 7 | F_EVENT_IDX | F_PROTOCOL_FEATURES | F_VERSION_1;
	if ((ask(backend, GET_FEATURES, 0, 0, -1, 1) & wanted) != wanted) {
		fprintf(stderr, "timers-frontend: the back end is no virtio-misc\n");
		exit(1);
	}
	ask(backend, GET_PROTOCOL_FEATURES, 0, 0, -1, 1);
	ask(backend, SET_PROTOCOL_FEATURES, 0, 8, -1, 0);
	ask(backend, SET_OWNER, 0, 0, -1, 0);
	ask(backend, SET_FEATURES, wanted, 8, -1, 0);
	struct message table = {.request = SET_MEM_TABLE, .flags = FLAG_VERSION, .size = 8 + sizeof(struct region)};
	table.memory.count = 1;
	table.memory.regions[0] = (struct region){GUEST, MEMORY, (uintptr_t)memory, 0};
	transmit(backend, &table, file);
	close(file);
	set_up_queue(0);
	set_up_queue(1);
}

static uint64_t address_of(void *at) { return GUEST + ((char *)at - memory); }

static void publish(struct queue *q)
{
	if (q->shown == q->avail)
		return;
	store16(avail_idx(&q->ring), q->avail);
	fence();
	if (passes(*(volatile uint16_t *)avail_event(&q->ring), q->avail, q->shown)) {
		uint64_t one = 1;
		if (write(q->kick, &one, 8) != 8)
			die("kick");
	}
	q->shown = q->avail;
}

/* Asks for an interrupt; returns whether there is something already. */
static int listen_for(struct queue *q)
{
	*(volatile uint16_t *)used_event(&q->ring) = q->seen;
	fence();
	return load16(used_idx(&q->ring)) != q->seen;
}

static uint64_t random_state = 88172645463325252ull;
static uint64_t chance(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(int64_t *)a, y = *(int64_t *)b;
	return (x > y) - (x < y);
}

static void fail(const char *what, unsigned id)
{
	fprintf(stderr, "timers-frontend: timer %u: %s\n", id, what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: timers-frontend SOCKET TIMERS HOLD_MS SPAN_MS\n");
		return 2;
	}
	unsigned count = atoi(argv[2]), half = count / 2;
	uint64_t hold = strtoull(argv[3], NULL, 10) * 1000000, span = strtoull(argv[4], NULL, 10) * 1000000;
	uint64_t *deadlines = calloc(count, 8);
	int64_t *late = calloc(count, 8);
	char *gone = calloc(count, 1);
	backend = connect_to(argv[1]);
	set_up();
	struct queue *control = &queues[0], *notify = &queues[1];
	for (unsigned i = 0; i < SIZE; i++) {
		notify->ring.desc[i] = (struct desc){address_of(notify->buffers + 16 * i), 16, DESC_F_WRITE, 0};
		*avail_slot(&notify->ring, notify->avail++) = i;
	}
	publish(notify);
	unsigned free_slots[SLOTS], free_count = 0;
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		char *buffer = control->buffers + BUFFER * slot;
		control->ring.desc[2 * slot] = (struct desc){address_of(buffer), 24, DESC_F_NEXT, 2 * slot + 1};
		control->ring.desc[2 * slot + 1] = (struct desc){address_of(buffer + 32), 4, DESC_F_WRITE, 0};
		free_slots[free_count++] = slot;
	}

	uint64_t start = now_ns(), first = start + hold, now = start, armed = 0, cancelled = 0, last = 0;
	unsigned asked = 0, answered = 0, notified = 0, alive = count - half;
	while (answered < count + half || notified < alive) {
		/* Those with even numbers are cancelled, after all are armed. */
		while (free_count > 0 && asked < (answered < count ? count : count + half)) {
			unsigned slot = free_slots[--free_count], id = asked < count ? asked : 2 * (asked - count);
			struct request *r = (struct request *)(control->buffers + BUFFER * slot);
			*(uint32_t *)(control->buffers + BUFFER * slot + 32) = ~0u;
			if (asked < count) {
				deadlines[id] = first + (span ? chance() % span : 0);
				uint64_t then = now_ns();
				if (deadlines[id] < then)
					deadlines[id] = then;
				*r = (struct request){SET_TIMER_NS, id, deadlines[id] - then, 0};
			} else {
				*r = (struct request){CANCEL_TIMER, 0, id, 0};
			}
			*avail_slot(&control->ring, control->avail++) = 2 * slot;
			asked++;
		}
		publish(control);
		uint16_t used = load16(used_idx(&control->ring)), told = load16(used_idx(&notify->ring));
		if (used == control->seen && told == notify->seen) {
			struct epoll_event event;
			if (!listen_for(control) && !listen_for(notify) && epoll_wait(epoll, &event, 1, 60000) != 1)
				die("nothing for 60 s");
			continue;
		}
		now = now_ns();
		for (; control->seen != used; answered++) {
			unsigned slot = used_slot(&control->ring, control->seen++)->id / 2;
			struct request *r = (struct request *)(control->buffers + BUFFER * slot);
			uint32_t status = *(uint32_t *)(control->buffers + BUFFER * slot + 32);
			if (r->type == CANCEL_TIMER && status == OK)
				gone[r->delay] = 1;
			else if (r->type == CANCEL_TIMER && status == NOT_FOUND)
				alive++; /* too late */
			else if (status != OK)
				fail("refused", answered);
			free_slots[free_count++] = slot;
		}
		if (armed == 0 && answered >= count)
			armed = now;
		if (cancelled == 0 && answered == count + half)
			cancelled = now;
		while (notify->seen != told) {
			unsigned head = used_slot(&notify->ring, notify->seen++)->id;
			uint32_t id = *(uint32_t *)(notify->buffers + 16 * head + 4);
			if (id >= count || deadlines[id] == 0)
				fail("notified, and not set or already notified", id);
			if (gone[id])
				fail("notified after it was cancelled", id);
			if (now < deadlines[id])
				fail("notified too early", id);
			late[notified++] = now - deadlines[id];
			deadlines[id] = 0;
			last = now;
			*avail_slot(&notify->ring, notify->avail++) = head;
		}
		publish(notify);
	}
	qsort(late, alive, 8, compare);
	printf("{\"arm\":%.0f,\"cancel\":%.0f,\"expire\":%.0f,\"inTime\":%s,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"worst\":%.1f}\n",
	       count / ((armed - start) / 1e9), half / ((cancelled - armed) / 1e9), alive / ((last - first) / 1e9),
	       cancelled < first ? "true" : "false", late[alive / 2] / 1e3, late[alive / 100 * 99] / 1e3,
	       late[(size_t)(alive * 0.999)] / 1e3, late[alive - 1] / 1e3);
	return 0;
}
