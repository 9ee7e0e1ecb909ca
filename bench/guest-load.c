// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load in the guest. Prints lines of JSON, each after "bench ".
 *
 *   guest-load reads RNGS ROUNDS MS    reads of 8 bytes from /dev/hwrng, of each virtio_rng.N in turns
 *   guest-load requests ROUNDS MS      virtio-test's requests
 *   guest-load timers ROUNDS COUNT     how late timers of virtio-misc are, and the kernel's own
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../include/uapi/linux/virtio_misc.h"

#define MOST 4096

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "guest-load: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

static void choose(int rng)
{
	int fd = open_or_die("/sys/class/misc/hw_random/rng_current", O_WRONLY);
	char name[32];
	int length = snprintf(name, sizeof(name), "virtio_rng.%d", rng);

	if (write(fd, name, length) != length) {
		fprintf(stderr, "guest-load: there is no %s\n", name);
		exit(1);
	}
	close(fd);
}

static double read_for(uint64_t ns)
{
	int fd = open_or_die("/dev/hwrng", O_RDONLY);
	uint64_t start = now_ns(), end, count = 0;
	char bytes[8];

	do {
		if (read(fd, bytes, sizeof(bytes)) <= 0) {
			perror("guest-load: /dev/hwrng");
			exit(1);
		}
		count++;
		end = now_ns();
	} while (end - start < ns);
	close(fd);
	return count / ((end - start) / 1e9);
}

static double request_for(uint64_t ns)
{
	int fd = open_or_die("/dev/virtio_misc", O_RDWR);
	uint64_t start = now_ns(), end, count = 0;
	unsigned char number = 1;

	do {
		if (write(fd, &number, 1) != 1) {
			perror("guest-load: /dev/virtio_misc");
			exit(1);
		}
		count++;
		end = now_ns();
	} while (end - start < ns);
	close(fd);
	return count / ((end - start) / 1e9);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(int64_t *)a, y = *(int64_t *)b;

	return (x > y) - (x < y);
}

static void print_late(const char *what, int round, int64_t *late, int count)
{
	qsort(late, count, sizeof(*late), compare);
	printf("bench {\"what\":\"%s\",\"round\":%d,\"p50\":%.1f,\"p99\":%.1f,\"least\":%.1f}\n", what, round,
	       late[count / 2] / 1e3, late[count * 99 / 100] / 1e3, late[0] / 1e3);
}

/* One after the other, each some ms ahead */
static void timers(int round, int count)
{
	static int64_t late[MOST];
	int fd = open_or_die("/dev/virtio-timer0", O_RDWR), i;

	for (i = 0; i < count; i++) {
		struct virtio_misc_timer_set set = { .delay_ns = 1000000 + rand() % 3000000, .cookie = i };
		struct virtio_misc_timer_event event;
		uint64_t then = now_ns();

		if (ioctl(fd, VIRTIO_MISC_IOC_SET_TIMER, &set) || read(fd, &event, sizeof(event)) != sizeof(event)) {
			perror("guest-load: /dev/virtio-timer0");
			exit(1);
		}
		late[i] = event.time_ns - then - set.delay_ns;
	}
	close(fd);
	print_late("virtio-misc", round, late, count);
	for (i = 0; i < count; i++) {
		uint64_t then = now_ns() + 1000000 + rand() % 3000000;
		struct timespec until = { then / 1000000000, then % 1000000000 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		late[i] = now_ns() - then;
	}
	print_late("hrtimer", round, late, count);
}

int main(int argc, char **argv)
{
	int round, rngs, i;

	if (argc == 5 && strcmp(argv[1], "reads") == 0) {
		rngs = atoi(argv[2]);
		for (round = 0; round < atoi(argv[3]); round++)
			for (i = 0; i < rngs; i++) {
				int rng = (round + i) % rngs;

				choose(rng);
				printf("bench {\"what\":\"rng%d\",\"round\":%d,\"rate\":%f}\n", rng, round,
				       read_for(atoll(argv[4]) * 1000000));
			}
	} else if (argc == 4 && strcmp(argv[1], "requests") == 0) {
		for (round = 0; round < atoi(argv[2]); round++)
			printf("bench {\"what\":\"test\",\"round\":%d,\"rate\":%f}\n", round,
			       request_for(atoll(argv[3]) * 1000000));
	} else if (argc == 4 && strcmp(argv[1], "timers") == 0 && atoi(argv[3]) <= MOST) {
		for (round = 0; round < atoi(argv[2]); round++)
			timers(round, atoi(argv[3]));
	} else {
		return 2;
	}
	return 0;
}
