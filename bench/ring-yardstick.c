/*
 * The device's end of a virtqueue, split or packed, as plain as it can be in C: the yardstick of the bench `ring`.
 *
 * usage: ring-yardstick LAYOUT SHAPE MS     LAYOUT: split or packed; SHAPE: 1 or 3 descriptors, or `indirect` for a table of 3
 * prints the chains a second of this process's CPU time
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE 256
#define BATCH 64
#define MEMORY (1 << 20)

struct desc { uint64_t addr; uint32_t len; uint16_t flags, next; };

static _Alignas(64) uint8_t memory[MEMORY];
static struct desc *const table = (struct desc *)memory;
static uint16_t *const avail = (uint16_t *)(memory + 8192);
static uint16_t *const used = (uint16_t *)(memory + 16384);

struct chain { uint32_t segments, readable, writable; uint64_t addr[SIZE]; uint32_t len[SIZE]; };
static struct chain chains[SIZE];

static void broken(const char *why)
{
	fprintf(stderr, "broken: %s\n", why);
	exit(1);
}

static void walk(struct chain *chain, uint16_t head)
{
	const volatile struct desc *at = table;
	uint32_t entries = SIZE, left = SIZE, index = head;
	int indirect = 0;

	chain->segments = chain->readable = chain->writable = 0;
	for (;;) {
		if (left-- == 0)
			broken("loop");
		uint64_t addr = at[index].addr;
		uint32_t len = at[index].len;
		uint16_t flags = at[index].flags, next = at[index].next;

		if (addr > MEMORY || len > MEMORY - addr)
			broken("address");
		if (flags & 4) {
			if (indirect || (flags & 1) || len == 0 || len % sizeof(struct desc))
				broken("indirect");
			indirect = 1;
			at = (const volatile struct desc *)(memory + addr);
			entries = left = len / sizeof(struct desc);
			index = 0;
			continue;
		}
		if (flags & 2)
			chain->writable += len;
		else if (chain->writable)
			broken("order");
		else
			chain->readable += len;
		chain->addr[chain->segments] = addr;
		chain->len[chain->segments++] = len;
		if (!(flags & 1))
			return;
		index = next;
		if (index >= entries)
			broken("next");
	}
}

static void describe(struct desc *at, uint32_t first, int count)
{
	const struct desc three[] = {
		{ 65536, 16, count > 1 ? 1 : 0, first + 1 }, { 65600, 512, 3, first + 2 }, { 66560, 1, 2, 0 },
	};

	memcpy(at, three, count * sizeof(*at));
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double split(int indirect, int count, double span)
{
	uint16_t index = 0, next_avail = 0, next_used = 0;
	uint64_t done = 0;

	for (uint32_t n = 0; n < BATCH; n++) {
		if (!indirect) {
			describe(table + 3 * n, 3 * n, count);
			continue;
		}
		uint64_t at = 131072 + 64 * n;
		describe((struct desc *)(memory + at), 0, count);
		table[3 * n] = (struct desc){ at, count * sizeof(struct desc), 4, 0 };
	}
	double start = cpu(), now;
	do {
		for (int round = 0; round < 1000; round++) {
			for (uint32_t n = 0; n < BATCH; n++)
				avail[2 + (index++ & (SIZE - 1))] = 3 * n;
			atomic_store((_Atomic uint16_t *)&avail[1], index);
			while (atomic_load((_Atomic uint16_t *)&avail[1]) != next_avail) {
				uint16_t head = ((volatile uint16_t *)avail)[2 + (next_avail++ & (SIZE - 1))];
				if (head >= SIZE)
					broken("head");
				walk(&chains[head], head);
				volatile uint32_t *element = (volatile uint32_t *)(used + 2) + 2 * (next_used++ & (SIZE - 1));
				element[0] = head;
				element[1] = 0;
				atomic_store((_Atomic uint16_t *)&used[1], next_used);
			}
			done += BATCH;
		}
		now = cpu();
	} while (now - start < span);
	return done / (now - start);
}

struct pdesc { uint64_t addr; uint32_t len; uint16_t id, flags; };

static struct pdesc *const ring = (struct pdesc *)memory;

/* Of a chain whose first descriptor is available. Returns how many descriptors of the ring it takes. */
static uint32_t walk_packed(struct chain *chain, uint16_t *id, uint32_t first, uint16_t owner, uint32_t size)
{
	const volatile struct pdesc *at = ring;
	uint32_t count = 1, index = first, end = 0;

	chain->segments = chain->readable = chain->writable = 0;
	for (;;) {
		uint64_t addr = at[index].addr;
		uint32_t len = at[index].len;
		uint16_t flags = at[index].flags;

		if (addr > MEMORY || len > MEMORY - addr)
			broken("address");
		if (!end) {
			*id = at[index].id;
			if ((flags & 0x8080) != owner)
				broken("list");
			if (flags & 4) {
				if (count > 1 || (flags & 1) || len == 0 || len % sizeof(struct pdesc))
					broken("indirect");
				at = (const volatile struct pdesc *)(memory + addr);
				end = len / sizeof(struct pdesc);
				index = 0;
				continue;
			}
		}
		if (flags & 2)
			chain->writable += len;
		else if (chain->writable)
			broken("order");
		else
			chain->readable += len;
		chain->addr[chain->segments] = addr;
		chain->len[chain->segments++] = len;
		index++;
		if (end) {
			if (index == end)
				return count;
			continue;
		}
		if (!(flags & 1))
			return count;
		if (count++ == size)
			broken("length");
		if (index == size) {
			index = 0;
			owner ^= 0x8080;
		}
	}
}

/* A ring that a batch fills: each lap the driver writes again what the device has overwritten. */
static double packed(int indirect, int count, double span)
{
	const struct pdesc three[] = { { 65536, 16, 0, 0 }, { 65600, 512, 0, 2 }, { 66560, 1, 0, 2 } };
	uint32_t step = indirect ? 1 : count, size = BATCH * step, next = 0, used = 0;
	uint16_t wrap = 1, used_wrap = 1;
	uint64_t done = 0;

	for (uint32_t n = 0; n < BATCH; n++) {
		struct pdesc *at = indirect ? (struct pdesc *)(memory + 131072 + 64 * n) : ring + step * n;
		memcpy(at, three, count * sizeof(*at));
		if (indirect)
			ring[n].addr = 131072 + 64 * n;
	}
	double start = cpu(), now;
	do {
		for (int round = 0; round < 1000; round++) {
			uint16_t owner = wrap ? 0x80 : 0x8000;
			for (uint32_t n = BATCH; n-- > 0;) {
				volatile struct pdesc *at = ring + step * n;
				for (uint32_t i = 1; i < step; i++) {
					at[i].id = n;
					at[i].flags = owner | 2 | (i + 1 < step ? 1 : 0);
				}
				at->len = indirect ? 48 : 16;
				at->id = n;
				atomic_store_explicit((_Atomic uint16_t *)&at->flags,
						      owner | (indirect ? 4 : step > 1 ? 1 : 0), memory_order_release);
			}
			wrap = !wrap;
			for (;;) {
				uint16_t flags = atomic_load((_Atomic uint16_t *)&ring[next].flags), id;
				if ((flags & 0x8080) != owner)
					break;
				/* The id is in the last descriptor. */
				static struct chain spare;
				uint32_t taken = walk_packed(&spare, &id, next, owner, size);
				if (id >= BATCH)
					broken("id");
				next += taken;
				if (next >= size)
					next -= size;
				ring[used].len = 0;
				ring[used].id = id;
				atomic_store((_Atomic uint16_t *)&ring[used].flags, used_wrap ? 0x8080 : 0);
				used += taken;
				if (used >= size) {
					used -= size;
					used_wrap = !used_wrap;
				}
			}
			done += BATCH;
		}
		now = cpu();
	} while (now - start < span);
	return done / (now - start);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int indirect = !strcmp(argv[2], "indirect");
	int count = indirect ? 3 : atoi(argv[2]);
	double span = atof(argv[3]) / 1e3;

	printf("%.0f\n", (!strcmp(argv[1], "packed") ? packed : split)(indirect, count, span));
	return 0;
}
