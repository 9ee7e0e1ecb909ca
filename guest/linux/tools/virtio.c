// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio - send a number to virtio-test
 *
 * The kernel prints the device's response. Exit code: 0 when the device has
 * answered, 255 when it has not, or for a wrong command line. What is printed
 * on the standard output then is the design's; the standard error has the
 * reason.
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

static void usage(void)
{
	printf("ERROR:please enter two parameters!\n");
	printf("eg: ./virtio number\n");
	printf("but the number between 0 and 255!\n");
}

int main(int argc, char *argv[])
{
	unsigned char number;
	const char *why;
	ssize_t written;
	int fd;

	if (argc != 2) {
		usage();
		return -1;
	}

	if (parse_number(argv[1], &number)) {
		usage();
		fprintf(stderr, "virtio: '%s' is not a number from 0 to 255\n",
			argv[1]);
		return -1;
	}

	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		why = strerror(errno);
		printf("ERROR:virtio_misc open failed!\n");
		fprintf(stderr, "virtio: can't open " DEVICE ": %s\n", why);
		return -1;
	}

	written = write(fd, &number, sizeof(number));
	if (written != sizeof(number)) {
		why = written < 0 ? strerror(errno) : "nothing was taken";
		printf("ERROR:write failed!\r\n");
		fprintf(stderr, "virtio: can't write to " DEVICE ": %s\n", why);
		close(fd);
		return -1;
	}

	close(fd);
	return 0;
}
