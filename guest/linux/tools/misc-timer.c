// SPDX-License-Identifier: GPL-2.0-only
/*
 * misc-timer - set timers of virtio-misc and print when they expire
 *
 * Exit code: 0 when each expired when it should have, 1 when one was early or
 * something failed, 2 for a wrong command line.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../include/uapi/linux/virtio_misc.h"

#define DEFAULT_DEVICE "/dev/virtio-timer0"
#define MAX_TIMERS 1000
#define NS_PER_MS UINT64_C(1000000)

/* How long to look for an expiry that must not come [ns] */
#define GRACE_NS (200 * NS_PER_MS)

struct timer {
	const char *text;	/* of the delay, as given */
	uint64_t delay_ns;
	uint64_t set_at;	/* CLOCK_MONOTONIC before it was set [ns] */
	uint32_t id;
	uint64_t expired;	/* how often */
	bool cancelled;
};

static struct timer timers[MAX_TIMERS];
static unsigned int num_timers;
static uint64_t repeat = 1;
static bool in_ns;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static void print_usage(FILE *out)
{
	fprintf(out,
		"usage: misc-timer [OPTIONS] DELAY...\n"
		"Sets a timer of virtio-misc for each DELAY, in ms, and prints each expiry as it\n"
		"comes, with how late it was by this system's monotonic clock.\n"
		"  --periodic COUNT  let each timer expire COUNT times, DELAY apart\n"
		"  --cancel N        cancel the Nth timer once all are set; may be repeated\n"
		"  --ns              DELAY is in ns\n"
		"  --device PATH     default " DEFAULT_DEVICE "\n");
}

static void wrong(const char *what, const char *text, uint64_t min,
		  uint64_t max)
{
	fprintf(stderr, "misc-timer: %s is a number from %llu to %llu, not '%s'\n",
		what, (unsigned long long)min, (unsigned long long)max, text);
	exit(2);
}

static uint64_t parse(const char *what, const char *text, uint64_t min,
		      uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || errno || *end || value < min ||
	    value > max)
		wrong(what, text, min, max);
	return value;
}

static const char *unit(void)
{
	return in_ns ? "ns" : "ms";
}

static bool set_timer(int fd, unsigned int index)
{
	struct timer *timer = &timers[index];
	struct virtio_misc_timer_set set = {
		.delay_ns = timer->delay_ns,
		.interval_ns = repeat > 1 ? timer->delay_ns : 0,
		.cookie = index,
	};

	timer->set_at = now_ns();
	if (ioctl(fd, VIRTIO_MISC_IOC_SET_TIMER, &set)) {
		fprintf(stderr, "misc-timer: can't set a timer of %s %s: %s\n",
			timer->text, unit(), strerror(errno));
		return false;
	}
	timer->id = set.id;
	return true;
}

static bool cancel_timer(int fd, struct timer *timer)
{
	struct virtio_misc_timer_cancel cancel = { .id = timer->id };

	if (ioctl(fd, VIRTIO_MISC_IOC_CANCEL_TIMER, &cancel)) {
		fprintf(stderr, "misc-timer: can't cancel timer %td (%s %s): %s\n",
			timer - timers + 1, timer->text, unit(),
			strerror(errno));
		return false;
	}
	timer->cancelled = true;
	return true;
}

/* Prints an expiry; false if it should not have been */
static bool print_expiry(const struct virtio_misc_timer_event *event)
{
	struct timer *timer = &timers[event->cookie];
	int64_t elapsed, late;
	bool good = true;

	timer->expired += event->expirations;
	elapsed = event->time_ns - timer->set_at;
	late = elapsed - timer->expired * timer->delay_ns;

	printf("timer %td (%s%s %s) expired after %.3f ms, %s by %.3f ms",
	       timer - timers + 1, repeat > 1 ? "every " : "", timer->text,
	       unit(), elapsed / 1e6, late < 0 ? "EARLY" : "late",
	       (late < 0 ? -late : late) / 1e6);
	if (repeat > 1)
		printf(" (%llu of %llu)", (unsigned long long)timer->expired,
		       (unsigned long long)repeat);
	if (late < 0)
		good = false;
	if (timer->cancelled) {
		printf(", but was CANCELLED");
		good = false;
	}
	if (repeat == 1 && timer->expired > 1) {
		printf(", and not for the first time");
		good = false;
	}
	printf("\n");

	return good;
}

/* Timers that go on, and when to look no further for those that must not */
static unsigned int pending(uint64_t *until)
{
	unsigned int i, count = 0;

	*until = 0;
	for (i = 0; i < num_timers; i++) {
		uint64_t end = timers[i].set_at + timers[i].delay_ns + GRACE_NS;

		if (timers[i].cancelled && repeat == 1 && end > *until)
			*until = end;
		if (!timers[i].cancelled)
			count += timers[i].expired < repeat;
	}
	return count;
}

static bool wait_for_expiries(int fd)
{
	struct virtio_misc_timer_event event;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	bool good = true;

	for (;;) {
		uint64_t now = now_ns(), until;
		int timeout = -1, ready;

		if (!pending(&until)) {
			if (now >= until)
				break;
			timeout = (until - now) / NS_PER_MS + 1;
		}

		ready = poll(&poll_fd, 1, timeout);
		if (ready == 0)
			continue;
		if (ready < 0 || read(fd, &event, sizeof(event)) != sizeof(event)) {
			fprintf(stderr, "misc-timer: can't read: %s\n",
				strerror(errno));
			return false;
		}
		if (event.cookie >= num_timers) {
			fprintf(stderr, "misc-timer: expiry of no timer of ours\n");
			return false;
		}

		good &= print_expiry(&event);
		if (repeat > 1 && timers[event.cookie].expired >= repeat &&
		    !timers[event.cookie].cancelled)
			good &= cancel_timer(fd, &timers[event.cookie]);
	}

	return good;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "periodic", required_argument, NULL, 'p' },
		{ "cancel", required_argument, NULL, 'c' },
		{ "ns", no_argument, NULL, 'n' },
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	static bool to_cancel[MAX_TIMERS];
	const char *device = DEFAULT_DEVICE;
	uint64_t scale, max;
	bool good = true;
	unsigned int i;
	int option, fd;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			repeat = parse("COUNT", optarg, 1, UINT32_MAX);
			break;
		case 'c':
			to_cancel[parse("N", optarg, 1, MAX_TIMERS) - 1] = true;
			break;
		case 'n':
			in_ns = true;
			break;
		case 'd':
			device = optarg;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}

	num_timers = argc - optind;
	if (argc == optind) {
		print_usage(stderr);
		return 2;
	}
	if (num_timers > MAX_TIMERS) {
		fprintf(stderr, "misc-timer: at most %d timers\n", MAX_TIMERS);
		return 2;
	}
	for (i = num_timers; i < MAX_TIMERS; i++) {
		if (to_cancel[i]) {
			fprintf(stderr, "misc-timer: there is no timer %u to cancel\n",
				i + 1);
			return 2;
		}
	}

	scale = in_ns ? 1 : NS_PER_MS;
	max = in_ns ? INT64_MAX : UINT32_MAX;
	for (i = 0; i < num_timers; i++) {
		timers[i].text = argv[optind + i];
		timers[i].delay_ns = parse("DELAY", timers[i].text, 0, max) * scale;
	}

	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "misc-timer: can't open %s: %s\n", device,
			strerror(errno));
		return 1;
	}

	for (i = 0; i < num_timers; i++)
		if (!set_timer(fd, i))
			return 1;
	for (i = 0; i < num_timers; i++) {
		if (!to_cancel[i])
			continue;
		if (!cancel_timer(fd, &timers[i]))
			return 1;
		printf("timer %u (%s %s) cancelled\n", i + 1, timers[i].text,
		       unit());
	}

	good = wait_for_expiries(fd);
	close(fd);

	return !good;
}
