// SPDX-License-Identifier: GPL-2.0-only
/*
 * misc-timer-stress - thousands of timers of virtio-misc from many processes
 *
 * None may be early, lost, doubled, out of order or after its cancellation.
 * Exit code: 0 when none was, 1 when one was, 2 for a wrong command line.
 */

#define _DEFAULT_SOURCE

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
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../include/uapi/linux/virtio_misc.h"

#define DEFAULT_DEVICE "/dev/virtio-timer0"
#define NS_PER_MS UINT64_C(1000000)

struct timer {
	uint64_t delay_ns;
	uint64_t before;	/* CLOCK_MONOTONIC before it was set [ns] */
	uint64_t after;		/* and after [ns] */
	uint64_t cancel_at;	/* 0: never [ns] */
	uint32_t id;
	unsigned int expired;
	bool cancelled;
};

/* Shared by all processes */
struct counters {
	unsigned long expired;
	unsigned long cancelled;
	unsigned long early;
	unsigned long lost;
	unsigned long twice;
	unsigned long after_cancel;
	unsigned long out_of_order;
	unsigned long failed;
	uint64_t earliest_ns;
	uint64_t latest_ns;
};

static struct counters *counters;
/* A pipe: each process takes one byte of it before it starts */
static int start[2];
static const char *device = DEFAULT_DEVICE;
static uint64_t min_ns = 1 * NS_PER_MS;
static uint64_t max_ns = 5000 * NS_PER_MS;
static uint64_t grace_ns = 10000 * NS_PER_MS;
static bool cancel_third;
static bool whole_ms;
static bool any_order;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static void count(unsigned long *counter, unsigned long n)
{
	__atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static void keep_max(uint64_t *max, uint64_t value)
{
	uint64_t old = __atomic_load_n(max, __ATOMIC_RELAXED);

	while (value > old &&
	       !__atomic_compare_exchange_n(max, &old, value, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void fail(const char *what)
{
	fprintf(stderr, "misc-timer-stress: %s: %s\n", what, strerror(errno));
	count(&counters->failed, 1);
	_exit(1);
}

static int open_device(void)
{
	int fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fail(device);
	return fd;
}

static uint64_t random_between(uint64_t min, uint64_t max)
{
	uint64_t bits = (uint64_t)random() << 31 | random();

	return min + bits % (max - min + 1);
}

static void set_timer(int fd, struct timer *timer, uint64_t cookie)
{
	struct virtio_misc_timer_set set = {
		.delay_ns = timer->delay_ns,
		.cookie = cookie,
	};

	timer->before = now_ns();
	if (ioctl(fd, VIRTIO_MISC_IOC_SET_TIMER, &set))
		fail("can't set a timer");
	timer->after = now_ns();
	timer->id = set.id;
}

/*
 * A timer can't be cancelled when we have read its expiry, and only then: we
 * are alone with our file.
 */
static void cancel_timer(int fd, struct timer *timer)
{
	struct virtio_misc_timer_cancel cancel = { .id = timer->id };

	timer->cancel_at = 0;
	if (!ioctl(fd, VIRTIO_MISC_IOC_CANCEL_TIMER, &cancel)) {
		if (timer->expired)
			count(&counters->twice, 1);
		timer->cancelled = true;
	} else if (errno != ENOENT) {
		fail("can't cancel a timer");
	} else if (!timer->expired) {
		count(&counters->lost, 1);
		timer->expired = 1;
	}
}

static void judge(struct timer *timer,
		  const struct virtio_misc_timer_event *event)
{
	uint64_t deadline = timer->before + timer->delay_ns;

	if (timer->cancelled) {
		count(&counters->after_cancel, 1);
		return;
	}
	if (timer->expired++ || event->expirations != 1) {
		count(&counters->twice, 1);
		return;
	}
	if (event->time_ns < deadline) {
		count(&counters->early, 1);
		keep_max(&counters->earliest_ns, deadline - event->time_ns);
	} else {
		keep_max(&counters->latest_ns, event->time_ns - deadline);
	}
}

/* Reads what there is; @order gets the cookies as they come */
static void read_events(int fd, struct timer *timers, unsigned int num,
			unsigned int *order, unsigned int *num_read)
{
	struct virtio_misc_timer_event events[64];
	ssize_t got, i;

	while ((got = read(fd, events, sizeof(events))) > 0) {
		for (i = 0; i < got / (ssize_t)sizeof(events[0]); i++) {
			if (events[i].cookie >= num) {
				errno = EBADMSG;
				fail("expiry of no timer of ours");
			}
			if (*num_read < num)
				order[(*num_read)++] = events[i].cookie;
			judge(&timers[events[i].cookie], &events[i]);
		}
	}
	if (got < 0 && errno != EAGAIN)
		fail("can't read");
}

/*
 * A timer whose deadline was over, at the latest, before that of another, at
 * the earliest, comes before it.
 */
static void check_order(const struct timer *timers, const unsigned int *order,
			unsigned int num_read)
{
	uint64_t soonest = UINT64_MAX;
	unsigned int i;

	for (i = num_read; i-- > 0;) {
		const struct timer *timer = &timers[order[i]];

		if (soonest < timer->before + timer->delay_ns)
			count(&counters->out_of_order, 1);
		if (timer->after + timer->delay_ns < soonest)
			soonest = timer->after + timer->delay_ns;
	}
}

/* The next thing to do by ourselves: a cancellation, or giving up. 0: done */
static uint64_t next_deadline(const struct timer *timers, unsigned int num)
{
	uint64_t next = UINT64_MAX, last = 0;
	unsigned int i;

	for (i = 0; i < num; i++) {
		uint64_t end = timers[i].before + timers[i].delay_ns;

		if (timers[i].cancel_at && timers[i].cancel_at < next)
			next = timers[i].cancel_at;
		if (!timers[i].expired && !timers[i].cancelled && end > last)
			last = end;
	}
	if (next != UINT64_MAX)
		return next;
	return last ? last + grace_ns : 0;
}

/* All processes start at once, when all are there */
static void wait_for_start(void)
{
	char byte;

	close(start[1]);
	if (read(start[0], &byte, 1) != 1)
		_exit(1);
}

static void run(unsigned int process, unsigned int num)
{
	struct timer *timers = calloc(num, sizeof(*timers));
	unsigned int *order = calloc(num, sizeof(*order));
	struct pollfd poll_fd = { .events = POLLIN };
	unsigned int i, num_read = 0;
	uint64_t now, next;
	int fd;

	if (!timers || !order)
		fail("calloc");
	srandom(process * 2654435761u + getpid());
	fd = open_device();
	poll_fd.fd = fd;

	wait_for_start();

	for (i = 0; i < num; i++) {
		timers[i].delay_ns = random_between(min_ns, max_ns);
		if (whole_ms)
			timers[i].delay_ns -= timers[i].delay_ns % NS_PER_MS;
		set_timer(fd, &timers[i], i);
		/* At any time, also when it is about to expire or just has */
		if (cancel_third && i % 3 == 0)
			timers[i].cancel_at = timers[i].before +
				random_between(1, timers[i].delay_ns +
						  timers[i].delay_ns / 50);
		read_events(fd, timers, num, order, &num_read);
	}

	while ((next = next_deadline(timers, num))) {
		now = now_ns();
		if (next > now) {
			if (poll(&poll_fd, 1, (next - now) / NS_PER_MS + 1) < 0)
				fail("poll");
			read_events(fd, timers, num, order, &num_read);
			continue;
		}

		for (i = 0; i < num; i++)
			if (timers[i].cancel_at && timers[i].cancel_at <= now)
				cancel_timer(fd, &timers[i]);
		if (next_deadline(timers, num) == next)
			break;
	}

	/* What must not come, would come now */
	usleep(100000);
	read_events(fd, timers, num, order, &num_read);
	if (!any_order)
		check_order(timers, order, num_read);

	for (i = 0; i < num; i++) {
		count(&counters->expired, timers[i].expired > 0);
		count(&counters->cancelled, timers[i].cancelled);
		count(&counters->lost,
		      !timers[i].expired && !timers[i].cancelled);
	}
	close(fd);
}

/* Sets timers and does not care for them */
static int arm(unsigned int num, uint64_t delay_ns, bool leave)
{
	struct pollfd poll_fd = { .events = POLLIN };
	struct virtio_misc_timer_event event;
	unsigned int i, expired = 0;

	poll_fd.fd = open_device();
	for (i = 0; i < num; i++) {
		struct timer timer = { .delay_ns = delay_ns };

		set_timer(poll_fd.fd, &timer, i);
	}
	printf("%u timers armed\n", num);
	fflush(stdout);
	if (leave)
		return 0;

	while (expired < num) {
		if (poll(&poll_fd, 1, -1) < 0)
			fail("poll");
		if (read(poll_fd.fd, &event, sizeof(event)) < 0) {
			printf("%u of %u timers expired, then: %s\n", expired,
			       num, strerror(errno));
			return 1;
		}
		expired++;
	}
	printf("%u of %u timers expired\n", expired, num);

	return 0;
}

static void print_usage(FILE *out)
{
	fprintf(out,
		"usage: misc-timer-stress [OPTIONS]\n"
		"Sets timers of random delays from many processes at once, and checks that none\n"
		"is early, lost, doubled, out of order, or comes after it was cancelled.\n"
		"  --processes N    default 8\n"
		"  --timers N       in all, default 10000\n"
		"  --min-ms MS      shortest delay, default 1\n"
		"  --max-ms MS      longest delay, default 5000\n"
		"  --whole-ms       no fractions: a device without NSEC rounds them up\n"
		"  --cancel-third   cancel each third timer, at a random time\n"
		"  --any-order      when the system sleeps meanwhile: all are set again then, and\n"
		"                   close ones may swap\n"
		"  --grace-ms MS    how late a timer may be before it is lost, default 10000\n"
		"  --device PATH    default " DEFAULT_DEVICE "\n"
		"or:    misc-timer-stress --arm N [--delay-ms MS] [--exit]\n"
		"Sets N timers of one delay from one process and waits for them.\n"
		"  --delay-ms MS    default 3000\n"
		"  --exit           do not wait: exit while they are armed\n");
}

static uint64_t parse(const char *what, const char *text, uint64_t min,
		      uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || errno || *end || value < min ||
	    value > max) {
		fprintf(stderr,
			"misc-timer-stress: --%s is a number from %llu to %llu, not '%s'\n",
			what, (unsigned long long)min, (unsigned long long)max,
			text);
		exit(2);
	}
	return value;
}

static bool report(unsigned int num_timers)
{
	const struct counters *c = counters;

	printf("%u timers: %lu expired, %lu cancelled; ", num_timers,
	       c->expired, c->cancelled);
	printf("%lu early, %lu lost, %lu twice, ", c->early, c->lost, c->twice);
	printf("%lu after cancel, %lu out of order, %lu failed; ",
	       c->after_cancel, c->out_of_order, c->failed);
	printf("latest by %.3f ms", c->latest_ns / 1e6);
	if (c->early)
		printf(", earliest by %.3f ms", c->earliest_ns / 1e6);
	printf("\n");

	return c->expired + c->cancelled == num_timers && !c->early &&
	       !c->lost && !c->twice && !c->after_cancel && !c->out_of_order &&
	       !c->failed;
}

int main(int argc, char *argv[])
{
	enum { PROCESSES, TIMERS, MIN, MAX, WHOLE, THIRD, ANY, GRACE, DEVICE,
	       ARM, DELAY, EXIT, HELP };
	static const struct option options[] = {
		{ "processes", required_argument, NULL, PROCESSES },
		{ "timers", required_argument, NULL, TIMERS },
		{ "min-ms", required_argument, NULL, MIN },
		{ "max-ms", required_argument, NULL, MAX },
		{ "whole-ms", no_argument, NULL, WHOLE },
		{ "cancel-third", no_argument, NULL, THIRD },
		{ "any-order", no_argument, NULL, ANY },
		{ "grace-ms", required_argument, NULL, GRACE },
		{ "device", required_argument, NULL, DEVICE },
		{ "arm", required_argument, NULL, ARM },
		{ "delay-ms", required_argument, NULL, DELAY },
		{ "exit", no_argument, NULL, EXIT },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	unsigned int processes = 8, num_timers = 10000, num_armed = 0, i;
	uint64_t delay_ns = 3000 * NS_PER_MS;
	bool leave = false, crashed = false;
	int option, index, status;

	while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
		const char *name = option == '?' ? "" : options[index].name;

		switch (option) {
		case PROCESSES:
			processes = parse(name, optarg, 1, 1024);
			break;
		case TIMERS:
			num_timers = parse(name, optarg, 1, 10000000);
			break;
		case MIN:
			min_ns = parse(name, optarg, 0, UINT32_MAX) * NS_PER_MS;
			break;
		case MAX:
			max_ns = parse(name, optarg, 0, UINT32_MAX) * NS_PER_MS;
			break;
		case WHOLE:
			whole_ms = true;
			break;
		case THIRD:
			cancel_third = true;
			break;
		case ANY:
			any_order = true;
			break;
		case GRACE:
			grace_ns = parse(name, optarg, 0, UINT32_MAX) * NS_PER_MS;
			break;
		case DEVICE:
			device = optarg;
			break;
		case ARM:
			num_armed = parse(name, optarg, 1, 65536);
			break;
		case DELAY:
			delay_ns = parse(name, optarg, 0, UINT32_MAX) * NS_PER_MS;
			break;
		case EXIT:
			leave = true;
			break;
		case HELP:
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind != argc || min_ns > max_ns || (leave && !num_armed)) {
		print_usage(stderr);
		return 2;
	}

	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED) {
		perror("misc-timer-stress: mmap");
		return 1;
	}

	if (num_armed)
		return arm(num_armed, delay_ns, leave);

	if (pipe(start)) {
		perror("misc-timer-stress: pipe");
		return 1;
	}
	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("misc-timer-stress: fork");
			return 1;
		}
		if (pid == 0) {
			run(i, num_timers / processes +
			       (i < num_timers % processes));
			_exit(0);
		}
	}

	for (i = 0; i < processes; i++)
		if (write(start[1], "", 1) != 1)
			crashed = true;
	while (wait(&status) > 0)
		crashed |= status != 0;

	return !report(num_timers) || crashed;
}
