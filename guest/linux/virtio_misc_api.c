// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc timers for other modules: callbacks from a workqueue
 */

#include <linux/device.h>
#include <linux/export.h>
#include <linux/slab.h>
#include <linux/virtio.h>

#include <linux/virtio_misc.h>

#include "virtio_misc_internal.h"

/**
 * struct vmisc_call - a timer with a callback
 * @timer: timer
 * @node: entry in vm->calls while it has expired and the callback was not called
 * @func: callback
 * @context: its argument
 */
struct vmisc_call {
	struct vmisc_timer timer;
	struct list_head node;
	misc_timer_cb func;
	void *context;
};

static_assert(!offsetof(struct vmisc_call, timer));

/*
 * If the callback of a periodic timer was not called since its last expiry, it
 * keeps its place: one call for both.
 */
static void vmisc_call_expired(struct vmisc_timer *timer, u64 expirations,
			       ktime_t now)
{
	struct vmisc_call *call = container_of(timer, struct vmisc_call, timer);
	struct vmisc *vm = timer->vm;

	if (list_empty(&call->node))
		list_add_tail(&call->node, &vm->calls);
	queue_work(vm->wq, &vm->call_work);
}

/**
 * vmisc_call_work() - call the callbacks of expired timers
 * @work: work of the device
 *
 * Context: Workqueue, one at a time. Takes and releases vm->lock.
 */
void vmisc_call_work(struct work_struct *work)
{
	struct vmisc *vm = container_of(work, struct vmisc, call_work);
	struct vmisc_call *call;

	spin_lock_irq(&vm->lock);
	while ((call = list_first_entry_or_null(&vm->calls, struct vmisc_call,
						node))) {
		list_del_init(&call->node);
		/* From here on, who cancels it waits */
		call->timer.busy = true;
		vm->running = call;
		vm->runner = current;
		spin_unlock_irq(&vm->lock);

		call->func(call->context);
		cond_resched();

		spin_lock_irq(&vm->lock);
		vm->running = NULL;
		vm->runner = NULL;
		call->timer.busy = false;
		if (!call->timer.interval_ns)
			call->timer.closed = true;
		vmisc_timer_settle(&call->timer);
		vmisc_send(vm);
		wake_up_all(&vm->call_done);
	}
	spin_unlock_irq(&vm->lock);
}

/**
 * vmisc_calls_drop() - forget the callbacks that were not called yet
 * @vm: device data
 *
 * Context: Any context. Takes and releases vm->lock.
 */
void vmisc_calls_drop(struct vmisc *vm)
{
	struct vmisc_call *call, *next;
	unsigned long flags;

	spin_lock_irqsave(&vm->lock, flags);
	list_for_each_entry_safe(call, next, &vm->calls, node)
		list_del_init(&call->node);
	spin_unlock_irqrestore(&vm->lock, flags);
}

/**
 * vmisc_call_close() - the callback must not be called any more
 * @call: timer
 *
 * It may still be running.
 *
 * Context: Any context. vm->lock held. The caller has a reference, or does not
 * touch the timer after this.
 */
static void vmisc_call_close(struct vmisc_call *call)
{
	struct vmisc *vm = call->timer.vm;

	list_del_init(&call->node);
	vmisc_timer_close(&call->timer);
	vmisc_send(vm);
}

static struct vmisc_call *vmisc_call_new(struct vmisc *vm, misc_timer_cb func,
					 void *context, gfp_t gfp)
{
	struct vmisc_call *call;

	call = kzalloc(sizeof(*call), gfp);
	if (!call)
		return NULL;

	if (vmisc_timer_init(&call->timer, vm, vmisc_call_expired, gfp)) {
		kfree(call);
		return NULL;
	}

	INIT_LIST_HEAD(&call->node);
	call->func = func;
	call->context = context;

	return call;
}

/**
 * virtio_misc_get_device() - find a virtio-misc device
 * @index: N of its /dev/virtio_misc_timerN
 *
 * Context: Any context.
 * Return: virtio device with a reference, for virtio_misc_put_device(), or
 * NULL. The reference does not keep the driver bound to it.
 */
struct virtio_device *virtio_misc_get_device(unsigned int index)
{
	struct vmisc *vm = vmisc_get_index(index);
	struct virtio_device *vdev;

	if (!vm)
		return NULL;

	vdev = vm->vdev;
	vmisc_put(vm);

	return vdev;
}
EXPORT_SYMBOL_GPL(virtio_misc_get_device);

/**
 * virtio_misc_put_device() - drop the reference of virtio_misc_get_device()
 * @vdev: virtio device
 *
 * Context: Process context.
 */
void virtio_misc_put_device(struct virtio_device *vdev)
{
	put_device(&vdev->dev);
}
EXPORT_SYMBOL_GPL(virtio_misc_put_device);

/**
 * virtio_misc_set_timer() - have a callback called after a delay
 * @vdev: virtio device
 * @delay_ms: delay [ms]; it is never cut short
 * @func: callback, see <linux/virtio_misc.h> for when and where it runs
 * @context: its argument; stays the caller's
 *
 * Does not wait for the device. If that refuses the timer after all, a warning
 * is logged and the callback is not called: use virtio_misc_start_timer() to
 * learn of it. virtio_misc_cancel_callback() cancels such timers.
 *
 * Context: Any context.
 * Return: 0 when the timer is on its way to the device, -ENODEV when there is
 * no driver bound to @vdev, -ENOMEM, or -EIO when the device is broken.
 */
int virtio_misc_set_timer(struct virtio_device *vdev, u32 delay_ms,
			  misc_timer_cb func, void *context)
{
	struct vmisc *vm = vmisc_get(vdev);
	struct vmisc_call *call;
	int err;

	if (!vm)
		return -ENODEV;

	call = vmisc_call_new(vm, func, context, GFP_ATOMIC);
	if (!call) {
		err = -ENOMEM;
		goto out_put;
	}

	err = vmisc_timer_set(&call->timer, (u64)delay_ms * NSEC_PER_MSEC, 0);
	vmisc_timer_put(&call->timer);

out_put:
	vmisc_put(vm);

	return err;
}
EXPORT_SYMBOL_GPL(virtio_misc_set_timer);

/**
 * virtio_misc_start_timer() - start a timer that can be cancelled
 * @vdev: virtio device
 * @delay_ns: time to its expiry [ns]; a device without NSEC gets it in ms,
 *	      rounded up
 * @interval_ns: time between later expiries [ns], at least
 *		 VIRTIO_MISC_MIN_INTERVAL_NS, or 0 for a timer that expires once
 * @func: callback, see <linux/virtio_misc.h> for when and where it runs
 * @context: its argument; stays the caller's
 *
 * Expiries of a periodic timer that come faster than its callback runs are
 * told by one call. A timer that expires once may have done so when this
 * returns.
 *
 * Context: Process context. Sleeps until the device has answered.
 * Return: id of the timer, greater than 0; or -EINVAL, -EOPNOTSUPP when the
 * device has no such timers (an interval takes NSEC, PERIODIC and CANCEL),
 * -ENOSPC when it has no room for another, -ENODEV, -EINTR when the task was
 * killed, -ENOMEM, -EIO.
 */
int virtio_misc_start_timer(struct virtio_device *vdev, u64 delay_ns,
			    u64 interval_ns, misc_timer_cb func, void *context)
{
	struct vmisc *vm = vmisc_get(vdev);
	struct vmisc_call *call;
	int ret;

	if (!vm)
		return -ENODEV;

	call = vmisc_call_new(vm, func, context, GFP_KERNEL);
	if (!call) {
		ret = -ENOMEM;
		goto out_put;
	}

	call->timer.awaited = true;
	ret = vmisc_timer_set(&call->timer, delay_ns, interval_ns);
	if (ret)
		goto out_put_call;

	ret = vmisc_timer_await(&call->timer);
	if (ret) {
		spin_lock_irq(&vm->lock);
		vmisc_call_close(call);
		spin_unlock_irq(&vm->lock);
	} else {
		ret = call->timer.id;
	}

out_put_call:
	vmisc_timer_put(&call->timer);
out_put:
	vmisc_put(vm);

	return ret;
}
EXPORT_SYMBOL_GPL(virtio_misc_start_timer);

/**
 * vmisc_call_wait() - wait until a callback has returned
 * @vm: device data
 * @call: timer; it is enough to know its address
 *
 * Does not wait for the callback that calls this.
 *
 * Context: Process context. Called with vm->lock held, releases it meanwhile.
 * Return: true if it has waited.
 */
static bool vmisc_call_wait(struct vmisc *vm, struct vmisc_call *call)
{
	if (vm->running != call || vm->runner == current)
		return false;

	wait_event_lock_irq(vm->call_done, vm->running != call, vm->lock);

	return true;
}

/**
 * virtio_misc_cancel_timer() - cancel a timer
 * @vdev: virtio device
 * @id: timer, from virtio_misc_start_timer()
 *
 * When this returns, the callback is not running, and never will again. A
 * callback may cancel its own timer: then it is the last call.
 *
 * Context: Process context, sleeps while the callback runs.
 * Return: 0 when this kept the callback from being called (again), -ENOENT when
 * there is no such timer (any more), -ENODEV when there is no driver bound to
 * @vdev.
 */
int virtio_misc_cancel_timer(struct virtio_device *vdev, u32 id)
{
	struct vmisc *vm = vmisc_get(vdev);
	struct vmisc_timer *timer;
	struct vmisc_call *call;
	int ret = -ENOENT;

	if (!vm)
		return -ENODEV;

	spin_lock_irq(&vm->lock);
	timer = xa_load(&vm->timers, id);
	if (timer && timer->expired == vmisc_call_expired) {
		call = container_of(timer, struct vmisc_call, timer);
		refcount_inc(&timer->ref);
		if (!timer->closed && (!timer->busy || timer->interval_ns)) {
			vmisc_call_close(call);
			ret = 0;
		}
		vmisc_call_wait(vm, call);
		vmisc_timer_put(timer);
	}
	spin_unlock_irq(&vm->lock);

	vmisc_put(vm);

	return ret;
}
EXPORT_SYMBOL_GPL(virtio_misc_cancel_timer);

/**
 * virtio_misc_cancel_callback() - cancel all timers that have this callback
 * @vdev: virtio device
 * @func: callback
 *
 * When this returns, @func is not running for this device, and never will. To
 * be called before the code of @func goes away.
 *
 * Context: Process context, sleeps while @func runs. Not from @func itself.
 */
void virtio_misc_cancel_callback(struct virtio_device *vdev, misc_timer_cb func)
{
	struct vmisc *vm = vmisc_get(vdev);
	struct vmisc_timer *timer;
	struct vmisc_call *call;
	unsigned long id;
	bool again;

	if (!vm)
		return;

	spin_lock_irq(&vm->lock);
	do {
		xa_for_each(&vm->timers, id, timer) {
			call = container_of(timer, struct vmisc_call, timer);
			if (timer->expired == vmisc_call_expired &&
			    call->func == func)
				vmisc_call_close(call);
		}

		/* A call that was running may have set another timer */
		call = vm->running;
		again = call && call->func == func && vmisc_call_wait(vm, call);
	} while (again);
	spin_unlock_irq(&vm->lock);

	vmisc_put(vm);
}
EXPORT_SYMBOL_GPL(virtio_misc_cancel_callback);
