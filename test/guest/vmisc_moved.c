// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timers that are set before their device is unplugged, and called after another
 * was plugged in:
 *
 *   modprobe vmisc_moved; ... rmmod vmisc_moved
 *
 * It sets timers of 100, 200, ... ms, one that its callback sets again and again,
 * and a periodic one. /sys/module/vmisc_moved/parameters tells how it stands.
 * When it goes it says what came of all; it cancels those that are not due yet.
 */

#include <linux/atomic.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/virtio_misc.h>

/* More than anybody waits for */
#define COUNT		900
#define STEP_MS		100
#define AGAIN_MS	50
#define PERIOD_NS	(250 * (u64)NSEC_PER_MSEC)

struct moved_timer {
	ktime_t due;
	unsigned int calls;
};

static struct moved_timer timers[COUNT];
static struct virtio_device *vdev;
static ktime_t again_due, last_period;

static unsigned int called;
module_param(called, uint, 0444);
MODULE_PARM_DESC(called, "Timers that were called");
static int due_get(char *buffer, const struct kernel_param *param)
{
	unsigned int i;

	for (i = 0; i < COUNT; i++)
		if (ktime_before(ktime_get(), timers[i].due))
			break;

	return sysfs_emit(buffer, "%u\n", i);
}

static const struct kernel_param_ops due_ops = { .get = due_get };
module_param_cb(due, &due_ops, NULL, 0444);
MODULE_PARM_DESC(due, "Timers that are to be called by now");

static unsigned int again;
module_param(again, uint, 0444);
MODULE_PARM_DESC(again, "Calls of the one that is set again and again");
static unsigned int periods;
module_param(periods, uint, 0444);
MODULE_PARM_DESC(periods, "Calls of the periodic one");
static unsigned int early, twice, failed, disorder;
static ktime_t last_due;

static void moved_call(void *context)
{
	struct moved_timer *timer = context;

	early += ktime_before(ktime_get(), timer->due);
	disorder += ktime_before(timer->due, last_due);
	last_due = timer->due;
	twice += timer->calls++ != 0;
	WRITE_ONCE(called, called + 1);
}

static void moved_again(void *context)
{
	early += ktime_before(ktime_get(), again_due);
	WRITE_ONCE(again, again + 1);
	again_due = ktime_add_ms(ktime_get(), AGAIN_MS);
	failed += !!virtio_misc_set_timer(vdev, AGAIN_MS, moved_again, NULL);
}

static void moved_period(void *context)
{
	/* Those that were missed come as one; the next is due when it is */
	early += ktime_before(ktime_get(), last_period);
	last_period = ktime_get();
	WRITE_ONCE(periods, periods + 1);
}

/* Its deadline and one of the others may be closer than its request takes */
static void moved_more(void *context)
{
	struct moved_timer *timer = context;

	early += ktime_before(ktime_get(), timer->due);
	twice += timer->calls++ != 0;
}

/* Sets one more, by the virtio device that the module was loaded with */
static int more_set(const char *value, const struct kernel_param *param)
{
	static struct moved_timer more;

	more = (struct moved_timer) { .due = ktime_add_ms(ktime_get(), 20) };

	return virtio_misc_set_timer(vdev, 20, moved_more, &more);
}

static const struct kernel_param_ops more_ops = { .set = more_set };
module_param_cb(more, &more_ops, NULL, 0200);

static int __init moved_init(void)
{
	unsigned int i;
	int err;

	vdev = virtio_misc_get_device(0);
	if (!vdev)
		return -ENODEV;

	for (i = 0; i < COUNT; i++) {
		unsigned int delay_ms = (i + 1) * STEP_MS;

		timers[i].due = ktime_add_ms(ktime_get(), delay_ms);
		failed += !!virtio_misc_set_timer(vdev, delay_ms, moved_call,
						  &timers[i]);
	}
	again_due = ktime_add_ms(ktime_get(), AGAIN_MS);
	failed += !!virtio_misc_set_timer(vdev, AGAIN_MS, moved_again, NULL);
	err = virtio_misc_start_timer(vdev, PERIOD_NS, PERIOD_NS, moved_period,
				      NULL);
	failed += err < 0;

	return 0;
}
module_init(moved_init);

static void __exit moved_exit(void)
{
	unsigned int lost = 0, last = 0, i;

	virtio_misc_cancel_callback(vdev, moved_call);
	virtio_misc_cancel_callback(vdev, moved_more);
	virtio_misc_cancel_callback(vdev, moved_again);
	virtio_misc_cancel_callback(vdev, moved_period);
	virtio_misc_put_device(vdev);

	for (i = 0; i < COUNT; i++)
		if (timers[i].calls)
			last = i;
	for (i = 0; i < last; i++)
		lost += !timers[i].calls;
	pr_notice("set %u, lost %u, twice %u, early %u, out of order %u, failed %u\n",
		  COUNT, lost, twice, early, disorder, failed);
}
module_exit(moved_exit);

MODULE_DESCRIPTION("Timers that outlive their device");
MODULE_LICENSE("GPL");
