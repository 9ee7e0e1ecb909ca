/*
 * Timers in C: a 4-ary heap whose nodes hold the deadlines, the four children of one in a line of the cache, ids in an open-addressing
 * table, all of it allocated before.
 *
 *   timers-heap TIMERS MS
 *
 * Arms, cancels, arms and expires again and again for MS. Prints nanoseconds of the processor for each, as JSON.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct node {
	uint64_t deadline;
	uint32_t order, slot;
};

static struct node *heap;
static uint32_t count, size, mask, *place, *ids, *keys, *slots, next_order;
static uint64_t *deadline;

static uint64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int before(const struct node *a, const struct node *b)
{
	return a->deadline != b->deadline ? a->deadline < b->deadline : (int32_t)(a->order - b->order) < 0;
}

static void put(uint32_t at, const struct node *node)
{
	heap[at] = *node;
	place[node->slot] = at;
}

static void up(uint32_t at, struct node node)
{
	for (; at > 0 && before(&node, &heap[(at - 1) / 4]); at = (at - 1) / 4)
		put(at, &heap[(at - 1) / 4]);
	put(at, &node);
}

static void down(uint32_t at, struct node node)
{
	for (;;) {
		uint32_t child = 4 * at + 1, least = child;
		if (child >= size)
			break;
		for (uint32_t i = child + 1; i < child + 4 && i < size; i++)
			if (before(&heap[i], &heap[least]))
				least = i;
		if (!before(&heap[least], &node))
			break;
		put(at, &heap[least]);
		at = least;
	}
	put(at, &node);
}

static uint32_t home(uint32_t id) { return (id * 2654435769u) >> 7 & mask; }

static uint32_t find(uint32_t id)
{
	uint32_t at = home(id);
	while (slots[at] != 0 && keys[at] != id)
		at = (at + 1) & mask;
	return at;
}

static void forget(uint32_t gap)
{
	for (uint32_t at = (gap + 1) & mask; slots[at] != 0; at = (at + 1) & mask)
		if (((at - home(keys[at])) & mask) >= ((at - gap) & mask)) {
			keys[gap] = keys[at];
			slots[gap] = slots[at];
			gap = at;
		}
	slots[gap] = 0;
}

static void take(uint32_t slot)
{
	uint32_t at = place[slot];
	struct node last = heap[--size];
	if (last.slot == slot)
		return;
	if (at > 0 && before(&last, &heap[(at - 1) / 4]))
		up(at, last);
	else
		down(at, last);
}

static void arm_all(void)
{
	for (uint32_t id = 0; id < count; id++) {
		uint32_t at = find(id), slot = id;
		keys[at] = id;
		slots[at] = slot + 1;
		ids[slot] = id;
		up(size++, (struct node){deadline[slot], next_order++, slot});
	}
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	count = atoi(argv[1]);
	uint64_t span = strtoull(argv[2], NULL, 10) * 1000000, spent[3] = {0}, end = cpu_ns() + span, rounds = 0;
	for (mask = 1; mask < 2 * count; mask *= 2)
		;
	keys = calloc(mask, 4);
	slots = calloc(mask--, 4);
	/* Children begin at 1, 5, 9 ... */
	heap = (struct node *)aligned_alloc(64, ((size_t)count + 7) / 4 * 64) + 3;
	place = calloc(count, 4);
	ids = calloc(count, 4);
	deadline = calloc(count, 8);
	srand(1);
	do {
		for (uint32_t i = 0; i < count; i++)
			deadline[i] = 1 + (((uint64_t)rand() << 31) ^ rand()) % 1000000000;
		uint64_t start = cpu_ns();
		arm_all();
		uint64_t armed = cpu_ns();
		for (uint32_t id = 0; id < count; id++) {
			uint32_t at = find(id);
			take(slots[at] - 1);
			forget(at);
		}
		uint64_t cancelled = cpu_ns();
		arm_all();
		uint64_t again = cpu_ns(), last = 0;
		while (size > 0) {
			uint32_t slot = heap[0].slot;
			if (deadline[slot] < last)
				return 1;
			last = deadline[slot];
			forget(find(ids[slot]));
			take(slot);
		}
		uint64_t expired = cpu_ns();
		spent[0] += armed - start;
		spent[1] += cancelled - armed;
		spent[2] += expired - again;
		rounds++;
	} while (cpu_ns() < end);
	double each = (double)rounds * count;
	printf("{\"arm\":%f,\"cancel\":%f,\"expire\":%f,\"bytes\":%f}\n", spent[0] / each, spent[1] / each, spent[2] / each,
	       32 + 8.0 * (mask + 1) / count);
	return 0;
}
