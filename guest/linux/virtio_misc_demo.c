// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc_demo - how a module uses the timers of virtio-misc
 *
 * Sets three timers when it is loaded, each with a context of its own, and
 * prints what its callback is called with. A fourth one is cancelled.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ktime.h>
#include <linux/module.h>

#include <linux/virtio_misc.h>

struct demo_timer {
	const char *name;
	u32 delay_ms;
	ktime_t set_at;
};

/* Not in the order in which they expire */
static struct demo_timer demo_timers[] = {
	{ .name = "third", .delay_ms = 300 },
	{ .name = "first", .delay_ms = 100 },
	{ .name = "second", .delay_ms = 200 },
};

static struct demo_timer cancelled_timer = { .name = "cancelled" };

static struct virtio_device *demo_vdev;

static void demo_callback(void *context)
{
	struct demo_timer *timer = context;

	pr_notice("func(context) called with context \"%s\" after %lld ms\n",
		  timer->name, ktime_ms_delta(ktime_get(), timer->set_at));
}

static int __init demo_set_timers(void)
{
	unsigned int i;
	int id, err;

	for (i = 0; i < ARRAY_SIZE(demo_timers); i++) {
		demo_timers[i].set_at = ktime_get();
		err = virtio_misc_set_timer(demo_vdev, demo_timers[i].delay_ms,
					    demo_callback, &demo_timers[i]);
		if (err)
			return err;
	}

	cancelled_timer.set_at = ktime_get();
	id = virtio_misc_start_timer(demo_vdev, 150 * NSEC_PER_MSEC, 0,
				     demo_callback, &cancelled_timer);
	if (id < 0)
		return id;

	return virtio_misc_cancel_timer(demo_vdev, id);
}

static void demo_end(void)
{
	/* After this, no callback runs any code of this module */
	virtio_misc_cancel_callback(demo_vdev, demo_callback);
	virtio_misc_put_device(demo_vdev);
}

static int __init demo_init(void)
{
	int err;

	demo_vdev = virtio_misc_get_device(0);
	if (!demo_vdev) {
		pr_err("no virtio-misc device\n");
		return -ENODEV;
	}

	err = demo_set_timers();
	if (err) {
		pr_err("can't set a timer: %d\n", err);
		demo_end();
	}

	return err;
}
module_init(demo_init);

static void __exit demo_exit(void)
{
	demo_end();
}
module_exit(demo_exit);

MODULE_DESCRIPTION("Demonstration of the timers of virtio-misc");
MODULE_LICENSE("GPL");
