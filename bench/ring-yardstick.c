/*
 * The device's end of a split virtqueue, as plain as it can be in C: the yardstick of the bench `ring`.
 *
 * usage: ring-yardstick SHAPE MS     SHAPE: 1 or 3 descriptors, or `indirect` for a table of 3
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

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int indirect = !strcmp(argv[1], "indirect");
	int count = indirect ? 3 : atoi(argv[1]);
	double span = atof(argv[2]) / 1e3;
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
	printf("%.0f\n", done / (now - start));
	return 0;
}
