// SPDX-License-Identifier: GPL-2.0-only
/*
 * misc-timer-read - what read() of the timer device does in corners
 *
 *   fault    expiries that could not be copied are still there
 *   sigint   a timer that the device does not answer ends with a signal
 *   lost     a timer that is refused after a reset is told of, once
 */

#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../include/uapi/linux/virtio_misc.h"

#define DEVICE "/dev/virtio-timer0"
#define MS 1000000ull

static int set(int fd, unsigned long long delay_ns, unsigned long long cookie)
{
	struct virtio_misc_timer_set set = {
		.delay_ns = delay_ns,
		.cookie = cookie,
	};

	return ioctl(fd, VIRTIO_MISC_IOC_SET_TIMER, &set);
}

static int fault(int fd)
{
	const size_t size = sizeof(struct virtio_misc_timer_event);
	struct virtio_misc_timer_event rest[4];
	long page = sysconf(_SC_PAGESIZE);
	unsigned char *pages;
	ssize_t got, more;
	int i;

	pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || munmap(pages + page, page))
		return 1;
	for (i = 0; i < 4; i++)
		if (set(fd, 10 * MS, i))
			return 1;
	usleep(500000);

	/* Room for two, and then none */
	got = read(fd, pages + page - 2 * size, 4 * size);
	printf("first read: %zd of %zu\n", got, 2 * size);
	errno = 0;
	more = read(fd, pages + page, 4 * size);
	printf("faulting read: %zd, %s\n", more, strerror(errno));
	more = read(fd, rest, sizeof(rest));
	printf("read after it: %zd of %zu\n", more, 2 * size);

	return !(got == (ssize_t)(2 * size) && more == (ssize_t)(2 * size));
}

static void nothing(int signal)
{
	(void)signal;
}

static int interrupted(int fd)
{
	struct sigaction action = { .sa_handler = nothing };
	int ret;

	sigaction(SIGALRM, &action, NULL);
	alarm(2);
	ret = set(fd, 10 * MS, 1);
	printf("setting: %d, %s\n", ret, strerror(errno));

	return !(ret < 0 && errno == EINTR);
}

static int lost(int fd)
{
	struct virtio_misc_timer_event event;
	ssize_t first;

	if (set(fd, 600000 * MS, 1) || set(fd, 600000 * MS, 2))
		return 1;
	printf("two are set\n");
	fflush(stdout);
	first = read(fd, &event, sizeof(event));
	printf("first read: %zd, %s\n", first, strerror(errno));
	if (first >= 0)
		return 1;
	first = read(fd, &event, sizeof(event));
	printf("second read: %zd, %s\n", first, strerror(errno));
	if (first >= 0)
		return 1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	first = read(fd, &event, sizeof(event));
	printf("third read: %zd, %s\n", first, strerror(errno));

	return !(first < 0 && errno == EAGAIN);
}

int main(int argc, char *argv[])
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		perror(DEVICE);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "fault"))
		return fault(fd);
	if (argc == 2 && !strcmp(argv[1], "sigint"))
		return interrupted(fd);
	if (argc == 2 && !strcmp(argv[1], "lost"))
		return lost(fd);
	fprintf(stderr, "usage: misc-timer-read fault | sigint | lost\n");

	return 2;
}
