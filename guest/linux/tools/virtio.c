// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio - send a number to virtio-test
 *
 * The kernel prints the device's response. Exit code: 0 when the device has
 * answered, 1 when it has not, 2 for a wrong command line.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE "/dev/virtio_misc"

/* Decimal digits alone, 0 to 255 */
static int parse_number(const char *text, unsigned char *number)
{
	unsigned long value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -1;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value > 255)
		return -1;

	*number = value;
	return 0;
}

int main(int argc, char *argv[])
{
	unsigned char number;
	ssize_t written;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: virtio NUMBER\n"
				"Sends NUMBER, 0 to 255, to the device behind " DEVICE ".\n");
		return 2;
	}

	if (parse_number(argv[1], &number)) {
		fprintf(stderr, "virtio: '%s' is not a number from 0 to 255\n",
			argv[1]);
		return 2;
	}

	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "virtio: can't open " DEVICE ": %s\n",
			strerror(errno));
		return 1;
	}

	written = write(fd, &number, sizeof(number));
	if (written != sizeof(number)) {
		fprintf(stderr, "virtio: can't write to " DEVICE ": %s\n",
			written < 0 ? strerror(errno) : "nothing was taken");
		close(fd);
		return 1;
	}

	close(fd);
	return 0;
}
