/*
 * How late timers are at best: one timerfd, an epoll set, and deadlines in a sorted array.
 *
 *   timers-timerfd TIMERS SPAN_MS
 *
 * Prints quantiles of the lateness, in us, as JSON.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	size_t count = atoi(argv[1]);
	uint64_t span = strtoull(argv[2], NULL, 10) * 1000000, start = now_ns() + 10000000;
	uint64_t *deadlines = calloc(count, 8), *late = calloc(count, 8);
	srand(1);
	for (size_t i = 0; i < count; i++)
		deadlines[i] = start + (((uint64_t)rand() << 31) ^ rand()) % span;
	qsort(deadlines, count, 8, compare);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	if (timer == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0)
		return 1;
	for (size_t next = 0; next < count;) {
		struct itimerspec at = {.it_value = {deadlines[next] / 1000000000, deadlines[next] % 1000000000}};
		timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			return 1;
		for (uint64_t now; next < count && deadlines[next] <= (now = now_ns()); next++)
			late[next] = now - deadlines[next];
	}
	qsort(late, count, 8, compare);
	printf("{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f}\n", late[count / 2] / 1e3, late[count / 100 * 99] / 1e3,
	       late[(size_t)(count * 0.999)] / 1e3);
	return 0;
}
