/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Timers of a virtio-misc device, for other modules.
 *
 * All functions take the virtio device and may be called at any time: without
 * a driver bound to it they give -ENODEV. From which contexts is said at each of
 * them: virtio_misc_set_timer() from any but NMI, those that wait from process
 * context.
 *
 * Callbacks run in process context, on a workqueue of the device, one at a
 * time and in the order in which the timers expired. A callback may sleep (the
 * callbacks after it wait meanwhile), may set and cancel timers, itself
 * included, and may free its context.
 *
 * The context belongs to whoever set the timer; the driver hands it to the
 * callback and does nothing else with it. No callback runs after the timer was
 * cancelled: who allocates contexts keeps track of them, and frees those that
 * are left once virtio_misc_cancel_callback() has returned.
 *
 * When the device is unplugged, or the driver is unbound from it, timers wait
 * for the next virtio-misc device that is plugged in, or until it is bound
 * again, and go on there: what became due meanwhile expires then. So a guest is
 * moved that has to leave its device behind. The virtio device that was
 * unplugged, to which the caller has a reference, stands for the new one in all
 * functions. If no device comes, none of the callbacks is called any more; they
 * have to be cancelled all the same before their code goes away.
 *
 * While the system is suspended no time passes for timers, as for those of the
 * kernel; then they go on. So they do when the device had to be reset. Only if
 * it then refuses a timer that it took before, that one is lost, and a warning
 * logged.
 */
#ifndef _LINUX_VIRTIO_MISC_H
#define _LINUX_VIRTIO_MISC_H

#include <linux/types.h>

struct virtio_device;

/**
 * typedef misc_timer_cb - a timer expired
 * @context: as given when the timer was set
 *
 * Context: Process context, may sleep.
 */
typedef void (*misc_timer_cb)(void *context);

struct virtio_device *virtio_misc_get_device(unsigned int index);
void virtio_misc_put_device(struct virtio_device *vdev);

int virtio_misc_set_timer(struct virtio_device *vdev, u32 delay_ms,
			  misc_timer_cb func, void *context);
int virtio_misc_start_timer(struct virtio_device *vdev, u64 delay_ns,
			    u64 interval_ns, misc_timer_cb func, void *context);
int virtio_misc_cancel_timer(struct virtio_device *vdev, u32 id);
void virtio_misc_cancel_callback(struct virtio_device *vdev,
				 misc_timer_cb func);

#endif /* _LINUX_VIRTIO_MISC_H */
