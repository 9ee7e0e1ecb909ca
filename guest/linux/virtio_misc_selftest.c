// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc_selftest - tests of what virtio_misc exports to other modules
 *
 * Runs when it is loaded and prints a line for each test, as TAP. Loads only
 * when all passed.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <linux/virtio_misc.h>

static unsigned int wait_ms = 10000;
module_param(wait_ms, uint, 0444);
MODULE_PARM_DESC(wait_ms, "Longest time to wait for the next call [ms] (default: 10000)");

/* Long after these tests, however slow the machine is [ms] */
#define FAR_MS		3600000
/* How long to look for a call that must not come [ms] */
#define QUIET_MS	50

#define MANY		1000

/**
 * struct call - context of a callback
 * @calls: how often it was called
 * @order: value of &call_order at the last call
 * @time: CLOCK_MONOTONIC of the last call
 * @sleep_ms: the callback sleeps so long [ms]
 * @left: at this many calls the callback cancels its timer, or sets another
 * @id: timer, where one is needed
 * @error: what that came to
 */
struct call {
	atomic_t calls;
	int order;
	ktime_t time;
	unsigned int sleep_ms;
	int left;
	atomic_t id;
	int error;
};

static struct virtio_device *vdev;
static atomic_t call_order;
static atomic_t many_calls;

#define check(condition) ({						\
	bool _good = (condition);					\
									\
	if (!_good)							\
		pr_err("%s: not true: %s\n", __func__, #condition);	\
	_good;								\
})

static void count_call(void *context);
static void count_and_free(void *context);
static void count_and_cancel(void *context);
static void count_and_set_again(void *context);

/*
 * Ends each test, whatever came of it: what is still set has contexts on its
 * stack, and callbacks in this module.
 */
static void end_test(void)
{
	virtio_misc_cancel_callback(vdev, count_call);
	virtio_misc_cancel_callback(vdev, count_and_free);
	virtio_misc_cancel_callback(vdev, count_and_cancel);
	virtio_misc_cancel_callback(vdev, count_and_set_again);
}

static void count_call(void *context)
{
	struct call *call = context;

	call->time = ktime_get();
	if (call->sleep_ms)
		msleep(call->sleep_ms);
	call->order = atomic_inc_return(&call_order);
	atomic_inc(&call->calls);
}

/* However slow the machine is: as long as there are calls, there may be more */
static bool await_count(const atomic_t *count, int wanted)
{
	int seen = atomic_read(count), before;
	unsigned int ms;

	for (ms = 0; ms < wait_ms && seen < wanted; ms += 20) {
		msleep(20);
		before = seen;
		seen = atomic_read(count);
		if (seen != before)
			ms = 0;
	}

	return seen >= wanted;
}

static bool await_calls(struct call *call, int calls)
{
	return await_count(&call->calls, calls);
}

static bool test_order(void)
{
	static const u32 delays_ms[] = { 600, 200, 400 };
	struct call calls[ARRAY_SIZE(delays_ms)] = {};
	ktime_t set_at[ARRAY_SIZE(delays_ms)];
	bool good = true;
	int i;

	/* The others expire meanwhile, and have to wait */
	calls[1].sleep_ms = 600;

	for (i = 0; i < ARRAY_SIZE(delays_ms); i++) {
		set_at[i] = ktime_get();
		good &= check(!virtio_misc_set_timer(vdev, delays_ms[i],
						     count_call, &calls[i]));
	}
	for (i = 0; i < ARRAY_SIZE(delays_ms); i++) {
		good &= check(await_calls(&calls[i], 1));
		good &= check(ktime_ms_delta(calls[i].time, set_at[i]) >=
			      delays_ms[i]);
	}
	msleep(QUIET_MS);
	for (i = 0; i < ARRAY_SIZE(delays_ms); i++)
		good &= check(atomic_read(&calls[i].calls) == 1);
	good &= check(calls[1].order < calls[2].order);
	good &= check(calls[2].order < calls[0].order);

	end_test();

	return good;
}

static void *many_contexts[MANY];

static void count_and_free(void *context)
{
	void **place = context;

	kfree(*place);
	*place = NULL;
	atomic_inc(&many_calls);
}

/* More requests than the virtqueue has room for, and nobody may sleep */
static bool test_many_from_atomic_context(void)
{
	static DEFINE_SPINLOCK(lock);
	unsigned long flags;
	int i, set = 0;

	atomic_set(&many_calls, 0);
	for (i = 0; i < MANY; i++)
		many_contexts[i] = kmalloc(64, GFP_KERNEL);

	spin_lock_irqsave(&lock, flags);
	for (i = 0; i < MANY; i++)
		set += !virtio_misc_set_timer(vdev, 1 + i % 20, count_and_free,
					      &many_contexts[i]);
	spin_unlock_irqrestore(&lock, flags);

	await_count(&many_calls, set);
	msleep(QUIET_MS);

	end_test();
	for (i = 0; i < MANY; i++) {
		kfree(many_contexts[i]);
		many_contexts[i] = NULL;
	}

	return check(set == MANY) & check(atomic_read(&many_calls) == set);
}

static bool test_cancel(void)
{
	struct call call = {};
	bool good = true;
	int id;

	id = virtio_misc_start_timer(vdev, 2 * (u64)NSEC_PER_SEC, 0, count_call,
				     &call);
	good &= check(id > 0);
	good &= check(!virtio_misc_cancel_timer(vdev, id));
	good &= check(virtio_misc_cancel_timer(vdev, id) == -ENOENT);
	msleep(2000 + QUIET_MS);
	good &= check(!atomic_read(&call.calls));
	good &= check(virtio_misc_cancel_timer(vdev, 0) == -ENOENT);
	good &= check(virtio_misc_cancel_timer(vdev, U32_MAX) == -ENOENT);

	end_test();

	return good;
}

/* Starts a timer and returns when its callback is running, for some time */
static int start_and_await_running(struct call *call)
{
	unsigned int ms;
	int id;

	call->sleep_ms = 100;
	id = virtio_misc_start_timer(vdev, 0, 0, count_call, call);
	for (ms = 0; ms < wait_ms && !READ_ONCE(call->time); ms++)
		usleep_range(1000, 1100);

	return id;
}

static bool test_cancel_waits(void)
{
	struct call call = {}, other = {};
	bool good = true;
	int id;

	id = start_and_await_running(&call);
	good &= check(id > 0);
	good &= check(virtio_misc_cancel_timer(vdev, id) == -ENOENT);
	good &= check(atomic_read(&call.calls) == 1);

	good &= check(start_and_await_running(&other) > 0);
	virtio_misc_cancel_callback(vdev, count_call);
	good &= check(atomic_read(&other.calls) == 1);

	end_test();

	return good;
}

/* Cancelled when it is just about to expire: called once, or never */
static bool test_cancel_races(void)
{
	int i, id, err, called, cancelled = 0;
	unsigned int delay_us;
	bool good = true;

	for (i = 0; i < 300 && good; i++) {
		struct call call = {};

		id = virtio_misc_start_timer(vdev, 2 * NSEC_PER_MSEC, 0,
					     count_call, &call);
		good &= check(id > 0);
		delay_us = get_random_u32() % 3000;
		usleep_range(delay_us, delay_us + 1);
		err = virtio_misc_cancel_timer(vdev, id);
		/* If that failed, it still uses our stack */
		end_test();
		called = atomic_read(&call.calls);
		good &= check(err == (called ? -ENOENT : 0));
		good &= check(called <= 1);
		cancelled += !called;
	}
	pr_info("# %d of %d cancelled in time\n", cancelled, i);

	return good;
}

static void count_and_cancel(void *context)
{
	struct call *call = context;

	if (atomic_inc_return(&call->calls) != call->left)
		return;
	/* The id may not be there yet */
	while (!atomic_read(&call->id))
		usleep_range(100, 200);
	call->error = virtio_misc_cancel_timer(vdev, atomic_read(&call->id));
}

static bool test_periodic(void)
{
	struct call call = {}, own = { .left = 3, .error = 1 };
	ktime_t start = ktime_get();
	bool good = true;
	int id, calls;

	id = virtio_misc_start_timer(vdev, 10 * NSEC_PER_MSEC,
				     5 * NSEC_PER_MSEC, count_call, &call);
	good &= check(id > 0);
	good &= check(await_calls(&call, 10));
	calls = atomic_read(&call.calls);
	good &= check(ktime_ms_delta(ktime_get(), start) >=
		      10 + 5 * (calls - 1));
	good &= check(!virtio_misc_cancel_timer(vdev, id));
	calls = atomic_read(&call.calls);
	msleep(QUIET_MS);
	good &= check(atomic_read(&call.calls) == calls);

	id = virtio_misc_start_timer(vdev, NSEC_PER_MSEC, 2 * NSEC_PER_MSEC,
				     count_and_cancel, &own);
	good &= check(id > 0);
	atomic_set(&own.id, id);
	good &= check(await_calls(&own, 3));
	msleep(QUIET_MS);
	good &= check(atomic_read(&own.calls) == 3);
	good &= check(!own.error);
	virtio_misc_cancel_callback(vdev, count_and_cancel);

	end_test();

	return good;
}

static void count_and_set_again(void *context)
{
	struct call *call = context;

	if (atomic_inc_return(&call->calls) < call->left)
		call->error = virtio_misc_set_timer(vdev, 1,
						    count_and_set_again, call);
}

static bool test_set_from_callback(void)
{
	struct call call = { .left = 10 }, endless = { .left = INT_MAX };
	bool good = true;
	int calls;

	good &= check(!virtio_misc_set_timer(vdev, 1, count_and_set_again,
					     &call));
	good &= check(await_calls(&call, 10));

	/* It can be ended all the same */
	good &= check(!virtio_misc_set_timer(vdev, 1, count_and_set_again,
					     &endless));
	good &= check(await_calls(&endless, 3));
	virtio_misc_cancel_callback(vdev, count_and_set_again);
	calls = atomic_read(&endless.calls);
	msleep(QUIET_MS);
	good &= check(atomic_read(&endless.calls) == calls);
	good &= check(atomic_read(&call.calls) == 10);

	end_test();

	return good;
}

static bool test_cancel_callback(void)
{
	struct call call = {}, other = {};
	bool good = true;
	int i, calls;

	for (i = 0; i < MANY; i++)
		good &= check(!virtio_misc_set_timer(vdev, i % 2 ? i % 100 : FAR_MS,
						     count_call, &call));
	good &= check(!virtio_misc_set_timer(vdev, 120, count_and_cancel,
					     &other));
	good &= check(await_calls(&call, MANY / 10));
	virtio_misc_cancel_callback(vdev, count_call);
	calls = atomic_read(&call.calls);
	good &= check(calls <= MANY / 2);
	good &= check(await_calls(&other, 1));
	msleep(QUIET_MS);
	good &= check(atomic_read(&call.calls) == calls);
	virtio_misc_cancel_callback(vdev, count_and_cancel);

	end_test();

	return good;
}

static bool test_arguments(void)
{
	struct call call = {};
	bool good = true;

	good &= check(virtio_misc_start_timer(vdev, U64_MAX, 0, count_call,
					      &call) == -EINVAL);
	good &= check(virtio_misc_start_timer(vdev, 0, 1, count_call,
					      &call) == -EINVAL);
	good &= check(virtio_misc_start_timer(vdev, 0, U64_MAX, count_call,
					      &call) == -EINVAL);
	good &= check(!virtio_misc_get_device(UINT_MAX));
	msleep(QUIET_MS);
	good &= check(!atomic_read(&call.calls));

	end_test();

	return good;
}

static const struct {
	const char *name;
	bool (*run)(void);
} tests[] = {
	{ "callbacks run in the order of expiry, once each, never early", test_order },
	{ "thousands are set from atomic context", test_many_from_atomic_context },
	{ "a cancelled timer is not called", test_cancel },
	{ "cancelling waits for the callback", test_cancel_waits },
	{ "cancelling races with the expiry", test_cancel_races },
	{ "periodic timers, and one that cancels itself", test_periodic },
	{ "a callback sets the next timer", test_set_from_callback },
	{ "all timers of a callback are cancelled", test_cancel_callback },
	{ "wrong arguments are refused", test_arguments },
};

static int __init selftest_init(void)
{
	int i, failed = 0;

	vdev = virtio_misc_get_device(0);
	if (!vdev) {
		pr_err("no virtio-misc device\n");
		return -ENODEV;
	}

	pr_info("1..%zu\n", ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		bool good = tests[i].run();

		pr_notice("%sok %d - %s\n", good ? "" : "not ", i + 1,
			  tests[i].name);
		failed += !good;
	}

	virtio_misc_put_device(vdev);

	return failed ? -EINVAL : 0;
}
module_init(selftest_init);

static void __exit selftest_exit(void)
{
}
module_exit(selftest_exit);

MODULE_DESCRIPTION("Tests of the timers of virtio-misc");
MODULE_LICENSE("GPL");
