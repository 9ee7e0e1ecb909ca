// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmisc_slow_test - a periodic timer whose callback is slower than its interval,
 * for as long as this is loaded
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/module.h>

#include <linux/virtio_misc.h>

static unsigned int callback_ms = 30;
module_param(callback_ms, uint, 0444);
MODULE_PARM_DESC(callback_ms, "How long the callback sleeps [ms]");

static unsigned int interval_ms = 5;
module_param(interval_ms, uint, 0444);
MODULE_PARM_DESC(interval_ms, "Interval of the timer [ms]");

static int calls;
module_param(calls, int, 0444);
MODULE_PARM_DESC(calls, "Calls so far");

static struct virtio_device *vdev;

static void slow(void *context)
{
	msleep(callback_ms);
	WRITE_ONCE(calls, calls + 1);
}

static int __init slow_init(void)
{
	int id;

	vdev = virtio_misc_get_device(0);
	if (!vdev)
		return -ENODEV;

	id = virtio_misc_start_timer(vdev, NSEC_PER_MSEC,
				     (u64)interval_ms * NSEC_PER_MSEC, slow,
				     NULL);
	if (id < 0) {
		pr_notice("no timer: %d\n", id);
		virtio_misc_put_device(vdev);
		return id;
	}

	return 0;
}
module_init(slow_init);

static void __exit slow_exit(void)
{
	virtio_misc_cancel_callback(vdev, slow);
	virtio_misc_put_device(vdev);
	pr_notice("left after %d calls\n", calls);
}
module_exit(slow_exit);

MODULE_DESCRIPTION("A callback of virtio-misc that is slower than its timer");
MODULE_LICENSE("GPL");
