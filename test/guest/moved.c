// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest does that is moved from one QEMU to another:
 *
 *   moved CONTROL DISK...
 *
 * A process of its own writes and reads the control disk for ever, and looks
 * whether it has what was written. Another one writes to memory all the time, so
 * that there is always something left to copy. This one does what the first sector of the
 * control disk says, each number once ("3 fill"), and prints what came of it:
 *
 *   fill   reads the first part of each disk into a buffer
 *   take   begins to read the second part of each disk into another one
 *   check  waits for that, and prints the CRC-32 of both buffers of each disk
 *
 * Between a fill and a check nobody but the devices touches the buffers: what a
 * device read there while the memory was copied is at the other end only if
 * QEMU heard of it from the device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILL		(8u << 20)
#define FILL_PIECE	(16u << 10)
#define HELD		(2u << 20)
#define HELD_PIECE	(64u << 10)
#define HELD_PIECES	(HELD / HELD_PIECE)
#define MOST_DISKS	8
#define DEPTH		64

/* Of the control disk */
#define SCRATCH		(1u << 20)
#define SLOT		(64u << 10)
#define SLOTS		32

#define DIRTY		(4u << 20)

struct shared {
	volatile unsigned int rounds;
	volatile unsigned int wrong;
};

struct disk {
	int fd;
	uint8_t *fill;
	uint8_t *held;
	aio_context_t context;
	unsigned int taken;
};

static void die(const char *what)
{
	printf("moved: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static void *pages(size_t size, int flags)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			flags | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	memset(at, 0xa5, size);
	return at;
}

static uint32_t crc(const uint8_t *at, size_t size)
{
	static uint32_t table[256];
	uint32_t sum = ~0u;

	if (!table[1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t entry = i;

			for (int bit = 0; bit < 8; bit++)
				entry = entry & 1 ? entry >> 1 ^ 0xedb88320u : entry >> 1;
			table[i] = entry;
		}
	}
	while (size--)
		sum = table[(sum ^ *at++) & 0xff] ^ sum >> 8;
	return ~sum;
}

/* Writes and reads what nobody else does, and memory that no device knows */
static void busy(int fd, struct shared *shared)
{
	uint32_t *written = pages(SLOT, MAP_PRIVATE);
	uint32_t *read = pages(SLOT, MAP_PRIVATE);
	uint8_t *memory = pages(4 << 20, MAP_PRIVATE);
	uint32_t seeds[SLOTS] = {}, seed = 1;

	for (unsigned int round = 0;; round++) {
		unsigned int slot = round % SLOTS, old = (round + 1) % SLOTS;
		off_t at = SCRATCH + (off_t)slot * SLOT;

		seeds[slot] = seed++;
		for (unsigned int i = 0; i < SLOT / 4; i++)
			written[i] = seeds[slot] * 2654435761u + i;
		if (pwrite(fd, written, SLOT, at) != SLOT)
			shared->wrong++;
		if (pread(fd, read, SLOT, at) != SLOT || memcmp(read, written, SLOT))
			shared->wrong++;
		at = SCRATCH + (off_t)old * SLOT;
		if (seeds[old]) {
			if (pread(fd, read, SLOT, at) != SLOT)
				shared->wrong++;
			for (unsigned int i = 0; i < SLOT / 4; i++)
				shared->wrong += read[i] != seeds[old] * 2654435761u + i;
		}
		for (unsigned int i = 0; i < 4 << 20; i += 4096)
			memory[i]++;
		shared->rounds++;
	}
}

/* Has memory be written to, whatever the disks do */
static void dirty(void)
{
	volatile uint8_t *memory = pages(DIRTY, MAP_PRIVATE);

	/* Where others want the processor, they write to memory */
	nice(10);
	for (;;)
		for (unsigned int i = 0; i < DIRTY; i += 4096)
			memory[i]++;
}

static void begin(struct disk *disk, uint8_t *to, off_t from, unsigned int size,
		  unsigned int tag)
{
	struct iocb request = {
		.aio_data = tag,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = disk->fd,
		.aio_buf = (uintptr_t)to,
		.aio_nbytes = size,
		.aio_offset = from,
	}, *list = &request;

	if (syscall(SYS_io_submit, disk->context, 1, &list) != 1)
		die("io_submit");
}

static void end(struct disk *disk, unsigned int size)
{
	struct io_event event;

	while (syscall(SYS_io_getevents, disk->context, 1, 1, &event, NULL) != 1)
		if (errno != EINTR)
			die("io_getevents");
	if (event.res != size) {
		errno = -event.res;
		die("a read");
	}
}

static void fill(struct disk *disk)
{
	unsigned int pending = 0;

	for (unsigned int at = 0; at < FILL; at += FILL_PIECE) {
		if (pending == DEPTH) {
			end(disk, FILL_PIECE);
			pending--;
		}
		begin(disk, disk->fill + at, at, FILL_PIECE, 0);
		pending++;
	}
	while (pending--)
		end(disk, FILL_PIECE);
}

static void carry_out(const char *verb, struct disk *disks, unsigned int count,
		      const struct shared *shared)
{
	if (!strcmp(verb, "fill")) {
		for (unsigned int i = 0; i < count; i++)
			fill(&disks[i]);
	} else if (!strcmp(verb, "take")) {
		for (unsigned int i = 0; i < count; i++)
			for (; disks[i].taken < HELD_PIECES; disks[i].taken++) {
				unsigned int at = disks[i].taken * HELD_PIECE;

				begin(&disks[i], disks[i].held + at, FILL + at,
				      HELD_PIECE, 0);
			}
	} else if (!strcmp(verb, "check")) {
		for (unsigned int i = 0; i < count; i++) {
			for (; disks[i].taken; disks[i].taken--)
				end(&disks[i], HELD_PIECE);
			printf(" %08x %08x", crc(disks[i].fill, FILL),
			       crc(disks[i].held, HELD));
		}
		printf(" rounds %u wrong %u", shared->rounds, shared->wrong);
	} else {
		printf(" unknown: %s", verb);
	}
}

int main(int argc, char **argv)
{
	struct shared *shared = pages(4096, MAP_SHARED);
	struct disk disks[MOST_DISKS] = {};
	char *sector = pages(4096, MAP_PRIVATE);
	unsigned int count = argc - 2, done = 0;
	int control;

	if (argc < 3 || count > MOST_DISKS) {
		fprintf(stderr, "usage: moved CONTROL DISK...\n");
		return 1;
	}
	shared->rounds = shared->wrong = 0;
	control = open(argv[1], O_RDWR | O_DIRECT);
	if (control < 0)
		die(argv[1]);
	for (unsigned int i = 0; i < count; i++) {
		disks[i].fd = open(argv[i + 2], O_RDONLY | O_DIRECT);
		if (disks[i].fd < 0)
			die(argv[i + 2]);
		if (syscall(SYS_io_setup, DEPTH, &disks[i].context))
			die("io_setup");
		disks[i].fill = pages(FILL, MAP_PRIVATE);
		disks[i].held = pages(HELD, MAP_PRIVATE);
	}
	if (!fork())
		busy(control, shared);
	if (!fork())
		dirty();
	printf("moved ready\n");
	for (;; usleep(10000)) {
		unsigned int number;
		char verb[16];

		fflush(stdout);
		if (pread(control, sector, 512, 0) != 512)
			die("the control disk");
		sector[511] = 0;
		if (sscanf(sector, "%u %15s", &number, verb) != 2 || number == done)
			continue;
		done = number;
		printf("moved %u", number);
		carry_out(verb, disks, count, shared);
		printf(".\n");
	}
}
