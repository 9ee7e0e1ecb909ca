// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-stress - many processes write to virtio-test at once
 *
 * Each write must be answered with its own response. Exit code: 0 when all
 * were, 1 when one was not, 2 for a wrong command line.
 */

#define _DEFAULT_SOURCE

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../include/uapi/linux/virtio_test.h"

#define DEVICE "/dev/virtio_misc"

/* Shared by all processes */
struct counters {
	unsigned long answered;
	unsigned long wrong;
	unsigned long failed;
	/* How often there was no device, with --tolerate-removal */
	unsigned long gone;
	int last_errno;
};

static struct counters *counters;
/* A pipe: each process takes one byte of it before it starts */
static int start[2];
static bool tolerate_removal;

static void count(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static unsigned long parse(const char *what, const char *text,
			   unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || errno || *end || !value ||
	    value > max) {
		fprintf(stderr,
			"virtio-stress: %s is a number from 1 to %lu, not '%s'\n",
			what, max, text);
		exit(2);
	}
	return value;
}

/* The response to @num, as the seed of the request: 8 bits that wrap */
static bool is_response_to(const struct virtio_test_response *resp,
			   unsigned char num)
{
	return le32toh(resp->ret) == (unsigned char)(num + 1) + 100u &&
	       le32toh(resp->arg1) == (unsigned char)(num + 2) + 100u &&
	       le32toh(resp->arg2) == (unsigned char)(num + 3) + 100u;
}

static bool is_removal(int error)
{
	return error == ENODEV || error == ENXIO || error == ENOENT;
}

/*
 * Sends one number. Returns false with errno when that failed; a response that
 * is not ours is counted.
 */
static bool send_number(int *fd, unsigned char num)
{
	struct virtio_test_response resp;

	if (*fd < 0)
		*fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (*fd < 0)
		return false;

	errno = 0;
	if (write(*fd, &num, 1) != 1)
		return false;
	if (read(*fd, &resp, sizeof(resp)) != sizeof(resp))
		return false;

	count(is_response_to(&resp, num) ? &counters->answered :
					   &counters->wrong);
	return true;
}

/* All processes start at once, when all are there */
static void wait_for_start(void)
{
	char byte;

	close(start[1]);
	if (read(start[0], &byte, 1) != 1)
		_exit(1);
}

static void run(unsigned int process, unsigned long writes)
{
	unsigned int seed = process * 2654435761u + getpid();
	int fd = -1;

	wait_for_start();

	while (writes) {
		if (send_number(&fd, rand_r(&seed) >> 8)) {
			writes--;
			continue;
		}

		if (tolerate_removal && is_removal(errno)) {
			count(&counters->gone);
			/* An open file would keep the module loaded */
			if (fd >= 0)
				close(fd);
			fd = -1;
			usleep(20000 + rand_r(&seed) % 20000);
			continue;
		}

		counters->last_errno = errno;
		count(&counters->failed);
		writes--;
	}

	if (fd >= 0)
		close(fd);
}

static void usage(FILE *out)
{
	fprintf(out,
		"usage: virtio-stress [--tolerate-removal] PROCESSES WRITES\n"
		"Writes WRITES random numbers to " DEVICE " in all, from PROCESSES processes\n"
		"at once, and checks that each is answered with its own response.\n"
		"  --tolerate-removal  while there is no device, wait for it to come back\n");
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "tolerate-removal", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long processes, writes, i;
	bool crashed = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't':
			tolerate_removal = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind != 2) {
		usage(stderr);
		return 2;
	}
	processes = parse("PROCESSES", argv[optind], 4096);
	writes = parse("WRITES", argv[optind + 1], 1000000000);

	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED) {
		perror("virtio-stress: mmap");
		return 1;
	}

	if (pipe(start)) {
		perror("virtio-stress: pipe");
		return 1;
	}
	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("virtio-stress: fork");
			return 1;
		}
		if (pid == 0) {
			run(i, writes / processes + (i < writes % processes));
			_exit(0);
		}
	}

	for (i = 0; i < processes; i++)
		if (write(start[1], "", 1) != 1)
			crashed = true;
	while (wait(&status) > 0)
		crashed |= status != 0;

	printf("%lu answered, %lu wrong, %lu failed", counters->answered,
	       counters->wrong, counters->failed);
	if (counters->failed)
		printf(" (%s)", counters->last_errno ?
			      strerror(counters->last_errno) : "short");
	if (tolerate_removal)
		printf(", %lu times without a device", counters->gone);
	printf("\n");

	return crashed || counters->answered != writes;
}
