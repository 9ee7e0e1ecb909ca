/*
 * The load: a vhost-user front-end and the driver behind it, in one. It keeps requests of 48 bytes under way, checks each answer
 * of 12, and makes the next request as soon as it has one.
 *
 *   echo-frontend SOCKET OUTSTANDING WARM_MS MS sleep|spin [fresh]
 *
 * With `sleep` it waits for interrupts when nothing is there; with `spin` it wants none and looks at the ring all the time. With `fresh`
 * the text of each request is another one.
 * Requests have two descriptors; from 128 outstanding on they are indirect. Prints a line of JSON.
 */
#define _GNU_SOURCE
#include "vhost-user.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define SIZE 128
#define MEMORY (1 << 20)
#define GUEST 0x100000ull
/* Where things are in that memory. */
#define AVAIL 0x1000
#define USED 0x2000
#define TABLES 0x4000
#define BUFFERS 0x8000
#define BUFFER 128

struct request {
	int32_t type, args[3];
	char text[32];
};

static char *memory;
static struct ring ring;
static int backend, kick, call, epoll;

/* ns, each power of two in 32 parts */
static uint64_t latencies[64 * 32];

static uint64_t worst;

static void note(uint64_t ns)
{
	if (ns > worst)
		worst = ns;
	int log = 63 - __builtin_clzll(ns | 32);
	latencies[(log - 5) * 32 + (ns >> (log - 5))]++;
}

/* The largest value in a part. */
static uint64_t part_end(unsigned part)
{
	if (part < 64)
		return part;
	unsigned log = part / 32 + 4;
	return ((uint64_t)(part % 32 + 32 + 1) << (log - 5)) - 1;
}

static double quantile(double q, uint64_t count)
{
	uint64_t seen = 0;
	for (unsigned part = 0; part < 64 * 32; part++) {
		seen += latencies[part];
		if (seen >= q * count && seen > 0)
			return part_end(part) / 1000.0;
	}
	return 0;
}

static void set_up(void)
{
	int file = memfd_create("echo", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file == -1 || ftruncate(file, MEMORY) != 0)
		die("memfd");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	kick = eventfd(0, EFD_CLOEXEC);
	call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* On edges: each signal is reported once and needs no read. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, call, &event) != 0)
		die("epoll");
	ring = (struct ring){(struct desc *)memory, (uint16_t *)(memory + AVAIL), (uint16_t *)(memory + USED), SIZE};

	uint64_t wanted = 1 | F_INDIRECT_DESC | F_EVENT_IDX | F_PROTOCOL_FEATURES | F_VERSION_1;
	uint64_t features = ask(backend, GET_FEATURES, 0, 0, -1, 1);
	if ((features & wanted) != wanted) {
		fprintf(stderr, "echo-frontend: the back end offers %#llx\n", (unsigned long long)features);
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
	ask(backend, SET_VRING_NUM, (uint64_t)SIZE << 32, 8, -1, 0);
	ask(backend, SET_VRING_BASE, 0, 8, -1, 0);
	struct message addresses = {.request = SET_VRING_ADDR, .flags = FLAG_VERSION, .size = 40};
	addresses.addresses.descriptor = (uintptr_t)memory;
	addresses.addresses.available = (uintptr_t)(memory + AVAIL);
	addresses.addresses.used = (uintptr_t)(memory + USED);
	transmit(backend, &addresses, -1);
	ask(backend, SET_VRING_CALL, 0, 8, call, 0);
	ask(backend, SET_VRING_KICK, 0, 8, kick, 0);
	ask(backend, SET_VRING_ENABLE, 1ull << 32, 8, -1, 0);
}

static struct desc describe(uint64_t offset, uint32_t len, uint16_t flags, uint16_t next)
{
	return (struct desc){GUEST + offset, len, flags, next};
}

static struct request *request_of(unsigned slot) { return (struct request *)(memory + BUFFERS + BUFFER * slot); }
static int32_t *answer_of(unsigned slot) { return (int32_t *)(memory + BUFFERS + BUFFER * slot + 64); }

int main(int argc, char **argv)
{
	if (argc != 6 && argc != 7) {
		fprintf(stderr, "usage: echo-frontend SOCKET OUTSTANDING WARM_MS MS sleep|spin [fresh]\n");
		return 2;
	}
	unsigned outstanding = atoi(argv[2]);
	uint64_t warm = strtoull(argv[3], NULL, 10) * 1000000, span = strtoull(argv[4], NULL, 10) * 1000000;
	int spin = strcmp(argv[5], "spin") == 0, fresh = argc == 7;
	int indirect = outstanding > SIZE / 2;
	if (outstanding < 1 || outstanding > SIZE) {
		fprintf(stderr, "echo-frontend: 1 to %d outstanding\n", SIZE);
		return 2;
	}
	backend = connect_to(argv[1]);
	set_up();

	uint64_t asked[SIZE];
	uint16_t free_heads[SIZE], avail = 0, seen = 0;
	unsigned free_count = 0;
	for (unsigned slot = 0; slot < outstanding; slot++) {
		uint16_t head = indirect ? slot : 2 * slot;
		uint64_t at = BUFFERS + BUFFER * slot;
		struct desc *two = indirect ? (struct desc *)(memory + TABLES) + 2 * slot : ring.desc + head;
		two[0] = describe(at, sizeof(struct request), DESC_F_NEXT, indirect ? 1 : head + 1);
		two[1] = describe(at + 64, 12, DESC_F_WRITE, 0);
		if (indirect)
			ring.desc[slot] = describe(TABLES + 2 * slot * sizeof(struct desc), 2 * sizeof(struct desc),
						   DESC_F_INDIRECT, 0);
		strcpy(request_of(slot)->text, "hello back end!");
		free_heads[free_count++] = head;
	}

	uint64_t start = now_ns(), now = start, begun = 0, end = 0, done = 0, all = 0, kicks = 0, interrupts = 0, wrong = 0;
	uint32_t number = 0;
	unsigned under_way = 0;
	for (;;) {
		if (free_count > 0 && end == 0) {
			uint16_t before = avail;
			while (free_count > 0) {
				uint16_t head = free_heads[--free_count];
				unsigned slot = indirect ? head : head / 2;
				struct request *r = request_of(slot);
				r->type = 1;
				r->args[0] = number++;
				r->args[1] = number;
				r->args[2] = -number;
				if (fresh)
					for (int i = 0; i < 8; i++)
						r->text[16 + i] = "0123456789abcdef"[number >> (4 * i) & 15];
				asked[slot] = now;
				*avail_slot(&ring, avail++) = head;
				under_way++;
			}
			store16(avail_idx(&ring), avail);
			fence();
			if (passes(*(volatile uint16_t *)avail_event(&ring), avail, before)) {
				uint64_t one = 1;
				kicks++;
				if (write(kick, &one, 8) != 8)
					die("kick");
			}
		}
		if (end != 0 && under_way == 0)
			break;
		uint16_t idx = load16(used_idx(&ring));
		if (idx == seen) {
			if (spin) {
				/* Wanted once in 65536 at most. */
				*(volatile uint16_t *)used_event(&ring) = seen - 1;
				relax();
				if ((++all & 0xffff) == 0 && now_ns() - now > 10000000000ull)
					die("no answer in 10 s");
				continue;
			}
			*(volatile uint16_t *)used_event(&ring) = seen;
			fence();
			if (load16(used_idx(&ring)) != seen)
				continue;
			struct epoll_event event;
			interrupts++;
			if (epoll_wait(epoll, &event, 1, 10000) != 1)
				die("no interrupt in 10 s");
			continue;
		}
		now = now_ns();
		unsigned batch = (uint16_t)(idx - seen);
		while (seen != idx) {
			struct used_elem *e = used_slot(&ring, seen++);
			unsigned slot = indirect ? e->id : e->id / 2;
			if (slot >= outstanding) {
				fprintf(stderr, "echo-frontend: used id %u\n", e->id);
				return 1;
			}
			int32_t *args = request_of(slot)->args, *answer = answer_of(slot);
			if (e->len != 12 || answer[0] != args[0] + 100 || answer[1] != args[1] + 100 ||
			    answer[2] != args[2] + 100)
				wrong++;
			answer[0] = 0;
			if (begun != 0)
				note(now - asked[slot]);
			free_heads[free_count++] = e->id;
		}
		under_way -= batch;
		if (begun != 0) {
			done += batch;
			if (end == 0 && now - begun >= span)
				end = now;
		} else if (now - start >= warm) {
			begun = now;
			kicks = interrupts = 0;
		}
	}
	/* What came after the end was counted too, so it ends with the last answer. */
	end = now;
	ask(backend, GET_VRING_BASE, 0, 8, -1, 1);
	printf("{\"requests\":%llu,\"seconds\":%.6f,\"wrong\":%llu,\"kicks\":%llu,\"interrupts\":%llu,"
	       "\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"worst\":%.3f}\n",
	       (unsigned long long)done, (end - begun) / 1e9, (unsigned long long)wrong, (unsigned long long)kicks,
	       (unsigned long long)interrupts, quantile(0.5, done), quantile(0.99, done), quantile(0.999, done),
	       worst / 1000.0);
	return 0;
}
