// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc timers for other modules: callbacks from a workqueue
 */

#include <linux/device.h>
#include <linux/export.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/virtio.h>

#include <linux/virtio_misc.h>

#include "virtio_misc_internal.h"

/* How long to wait before trying again what there was no memory for [ms] */
#define VMISC_RETRY_MS	10

/**
 * struct vmisc_call - a timer with a callback
 * @timer: timer
 * @node: entry in vm->calls while it has expired and the callback was not
 *	  called; holds a reference
 * @func: callback
 * @context: its argument
 * @called: the callback was called, or is being called
 */
struct vmisc_call {
	struct vmisc_timer timer;
	struct list_head node;
	misc_timer_cb func;
	void *context;
	bool called;
};

static_assert(!offsetof(struct vmisc_call, timer));

/**
 * struct vmisc_ask - what virtio_misc_set_timer() was asked for
 * @node: entry in vm->asks or vm->free_asks
 * @func: callback
 * @context: its argument
 * @at: CLOCK_MONOTONIC from which the delay counts
 * @delay_ms: delay [ms]
 */
struct vmisc_ask {
	struct list_head node;
	misc_timer_cb func;
	void *context;
	ktime_t at;
	u32 delay_ms;
};

/*
 * If the callback of a periodic timer was not called since its last expiry, it
 * keeps its place: one call for both.
 */
static void vmisc_call_expired(struct vmisc_timer *timer, u64 expirations,
			       ktime_t now)
{
	struct vmisc_call *call = container_of(timer, struct vmisc_call, timer);
	struct vmisc *vm = timer->vm;

	if (list_empty(&call->node)) {
		refcount_inc(&timer->ref);
		timer->busy = true;
		list_add_tail(&call->node, &vm->calls);
	}
	queue_work(vm->wq, &vm->call_work);
}

static const struct vmisc_owner_ops vmisc_call_ops = {
	.stays = true,
	.expired = vmisc_call_expired,
};

static struct vmisc_call *to_call(struct vmisc_timer *timer)
{
	if (!timer || timer->ops != &vmisc_call_ops)
		return NULL;

	return container_of(timer, struct vmisc_call, timer);
}

/**
 * vmisc_call_work() - call the callback of one expired timer
 * @work: work of the device
 *
 * One, and then the next when the workqueue comes to it: with a callback that is
 * slower than its timer there always is a next one, and the system must be able
 * to freeze the workqueue all the same.
 *
 * Context: Workqueue, one at a time. Takes and releases vm->lock.
 */
static void vmisc_call_work(struct work_struct *work)
{
	struct vmisc *vm = container_of(work, struct vmisc, call_work);
	struct vmisc_call *call;

	spin_lock_irq(&vm->lock);
	call = list_first_entry_or_null(&vm->calls, struct vmisc_call, node);
	if (!call)
		goto out_unlock;

	/* From here on, who cancels it waits; the list's reference is ours */
	list_del_init(&call->node);
	call->called = true;
	vm->running = call;
	WRITE_ONCE(vm->runner, current);
	spin_unlock_irq(&vm->lock);

	call->func(call->context);

	spin_lock_irq(&vm->lock);
	vm->running = NULL;
	WRITE_ONCE(vm->runner, NULL);
	call->timer.busy = !list_empty(&call->node);
	if (!call->timer.interval_ns)
		call->timer.closed = true;
	vmisc_timer_settle(&call->timer);
	vmisc_send(vm);
	vmisc_timer_put(&call->timer);
	wake_up_all(&vm->call_done);
	if (!list_empty(&vm->calls))
		queue_work(vm->wq, &vm->call_work);

out_unlock:
	spin_unlock_irq(&vm->lock);
}

/**
 * vmisc_call_drop() - an expired timer's callback must not be called
 * @call: timer
 *
 * Context: Any context. vm->lock held. The caller has a reference, or the timer
 * is in vm->timers.
 * Return: true if it was about to be.
 */
static bool vmisc_call_drop(struct vmisc_call *call)
{
	if (list_empty(&call->node))
		return false;

	list_del_init(&call->node);
	call->timer.busy = call->timer.vm->running == call;
	vmisc_timer_put(&call->timer);

	return true;
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

	vmisc_call_drop(call);
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

	if (vmisc_timer_init(&call->timer, vm, &vmisc_call_ops, gfp)) {
		kfree(call);
		return NULL;
	}

	INIT_LIST_HEAD(&call->node);
	call->func = func;
	call->context = context;

	return call;
}

static struct vmisc_ask *vmisc_first_ask(struct vmisc *vm)
{
	struct vmisc_ask *ask;
	unsigned long flags;

	raw_spin_lock_irqsave(&vm->ask_lock, flags);
	ask = list_first_entry_or_null(&vm->asks, struct vmisc_ask, node);
	raw_spin_unlock_irqrestore(&vm->ask_lock, flags);

	return ask;
}

static void vmisc_free_ask(struct vmisc *vm, struct vmisc_ask *ask)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&vm->ask_lock, flags);
	list_move(&ask->node, &vm->free_asks);
	raw_spin_unlock_irqrestore(&vm->ask_lock, flags);
}

/**
 * vmisc_take_ask() - set the first timer that was asked for
 * @vm: device data
 * @gfp: for the memory it needs
 *
 * Context: Any context that @gfp allows and that may take vm->lock.
 * Return: 1 when that is done, 0 when there was none, -ENOMEM when it is still
 * the first.
 */
static int vmisc_take_ask(struct vmisc *vm, gfp_t gfp)
{
	struct vmisc_call *call = vmisc_call_new(vm, NULL, NULL, gfp);
	struct vmisc_ask *ask;
	unsigned long flags;
	int ret = 1, err;

	if (!call)
		return -ENOMEM;

	spin_lock_irqsave(&vm->lock, flags);
	ask = vmisc_first_ask(vm);
	if (!ask) {
		ret = 0;
		goto out_unlock;
	}

	call->func = ask->func;
	call->context = ask->context;
	/* One that was taken before the device went waits for the next one */
	err = vm->waiting ? 0 : vm->error;
	if (!err)
		err = vmisc_timer_set(&call->timer,
				      (u64)ask->delay_ms * NSEC_PER_MSEC, 0,
				      ask->at);
	if (err == -ENOMEM) {
		ret = err;
		goto out_unlock;
	}
	if (err && err != -ENODEV)
		dev_warn_ratelimited(&vm->vdev->dev,
				     "a timer of %u ms can't be set: %d\n",
				     ask->delay_ms, err);
	vmisc_free_ask(vm, ask);

out_unlock:
	spin_unlock_irqrestore(&vm->lock, flags);
	vmisc_timer_put(&call->timer);

	return ret;
}

/* Interrupts are on in between; who asks again and again has to wait */
static void vmisc_ask_irq(struct irq_work *work)
{
	struct vmisc *vm = container_of(work, struct vmisc, ask_irq);
	unsigned int i;

	for (i = 0; i < VMISC_BATCH && vmisc_first_ask(vm); i++)
		if (vmisc_take_ask(vm, GFP_ATOMIC | __GFP_NOWARN) < 0)
			break;

	if (vmisc_first_ask(vm))
		schedule_delayed_work(&vm->ask_work, 0);
}

static void vmisc_ask_work(struct work_struct *work)
{
	struct vmisc *vm = container_of(to_delayed_work(work), struct vmisc,
					ask_work);

	while (vmisc_first_ask(vm)) {
		if (vmisc_take_ask(vm, GFP_KERNEL) < 0) {
			schedule_delayed_work(&vm->ask_work,
					      msecs_to_jiffies(VMISC_RETRY_MS));
			return;
		}
		cond_resched();
	}
}

/**
 * vmisc_drop_asks() - forget what was asked for and not set yet
 * @vm: device data
 * @func: callback
 *
 * There are VMISC_ASKS at most.
 *
 * Context: Any context. vm->lock held.
 */
static void vmisc_drop_asks(struct vmisc *vm, misc_timer_cb func)
{
	struct vmisc_ask *ask, *next;
	unsigned long flags;

	raw_spin_lock_irqsave(&vm->ask_lock, flags);
	list_for_each_entry_safe(ask, next, &vm->asks, node)
		if (ask->func == func)
			list_move(&ask->node, &vm->free_asks);
	raw_spin_unlock_irqrestore(&vm->ask_lock, flags);
}

/**
 * vmisc_api_init() - get ready for timers with callbacks
 * @vm: device data, zeroed
 *
 * Context: Process context.
 * Return: 0 or -ENOMEM.
 */
int vmisc_api_init(struct vmisc *vm)
{
	unsigned int i;

	INIT_LIST_HEAD(&vm->calls);
	INIT_WORK(&vm->call_work, vmisc_call_work);
	init_waitqueue_head(&vm->call_done);
	raw_spin_lock_init(&vm->ask_lock);
	INIT_LIST_HEAD(&vm->asks);
	INIT_LIST_HEAD(&vm->free_asks);
	init_irq_work(&vm->ask_irq, vmisc_ask_irq);
	INIT_DELAYED_WORK(&vm->ask_work, vmisc_ask_work);

	vm->ask_pool = kvcalloc(VMISC_ASKS, sizeof(*vm->ask_pool), GFP_KERNEL);
	if (!vm->ask_pool)
		return -ENOMEM;
	for (i = 0; i < VMISC_ASKS; i++)
		list_add_tail(&vm->ask_pool[i].node, &vm->free_asks);

	vm->wq = alloc_ordered_workqueue("virtio_misc/%s",
					 WQ_HIGHPRI | WQ_FREEZABLE,
					 dev_name(&vm->vdev->dev));
	if (!vm->wq) {
		kvfree(vm->ask_pool);
		return -ENOMEM;
	}

	return 0;
}

/**
 * vmisc_api_drop_calls() - forget the callbacks that were not called yet
 * @vm: device data, stopped
 *
 * No callback runs after this.
 *
 * Context: Process context.
 */
void vmisc_api_drop_calls(struct vmisc *vm)
{
	struct vmisc_call *call;
	unsigned int steps = 0;

	spin_lock_irq(&vm->lock);
	while ((call = list_first_entry_or_null(&vm->calls, struct vmisc_call,
						node))) {
		vmisc_call_close(call);
		vmisc_breathe(vm, &steps);
	}
	spin_unlock_irq(&vm->lock);

	drain_workqueue(vm->wq);
}

/**
 * vmisc_api_pending() - see whether there are callbacks to be called
 * @vm: device data, stopped
 *
 * Context: Process context. Nobody but callbacks sets timers any more. Takes and
 * releases vm->lock.
 * Return: true if there is a timer with one, or one is running, which may set
 * one.
 */
bool vmisc_api_pending(struct vmisc *vm)
{
	bool pending;

	spin_lock_irq(&vm->lock);
	pending = !list_empty(&vm->all) || vm->running || vmisc_first_ask(vm);
	spin_unlock_irq(&vm->lock);

	return pending;
}

/**
 * vmisc_api_exit() - the opposite of vmisc_api_init()
 * @vm: device data; nobody finds it any more, and it has no timers
 *
 * Context: Process context.
 */
void vmisc_api_exit(struct vmisc *vm)
{
	irq_work_sync(&vm->ask_irq);
	cancel_delayed_work_sync(&vm->ask_work);
	destroy_workqueue(vm->wq);
	kvfree(vm->ask_pool);
}

/**
 * virtio_misc_get_device() - find a virtio-misc device
 * @index: N of its /dev/virtio-timerN
 *
 * Context: Any context but NMI.
 * Return: virtio device with a reference, for virtio_misc_put_device(), or
 * NULL. The reference does not keep the driver bound to it.
 */
struct virtio_device *virtio_misc_get_device(unsigned int index)
{
	return vmisc_get_index(index);
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
 * @delay_ms: delay [ms], from now; it is never cut short
 * @func: callback, see <linux/virtio_misc.h> for when and where it runs
 * @context: its argument; stays the caller's
 *
 * Takes no memory and no lock that others hold for long; the timer is set when
 * interrupts are on again. If the device refuses it then, a warning is logged
 * and the callback is not called: use virtio_misc_start_timer() to learn of it.
 * virtio_misc_cancel_callback() cancels such timers.
 *
 * Context: Any context but NMI: process, softirq and hardirq context, with
 * preemption or interrupts disabled, with any lock held, raw ones included, on
 * PREEMPT_RT, too.
 * Return: 0 when the timer is on its way to the device, -ENODEV when there is
 * no driver bound to @vdev, unless a callback calls this, -ENOMEM when more
 * than a thousand are on their way already, or -EIO when the device is broken.
 */
int virtio_misc_set_timer(struct virtio_device *vdev, u32 delay_ms,
			  misc_timer_cb func, void *context)
{
	struct vmisc_ask *ask;
	unsigned long flags;
	struct vmisc *vm;
	int err;

	/* vmisc_remove() waits until we are through */
	rcu_read_lock();

	vm = vmisc_find(vdev);
	err = vm ? READ_ONCE(vm->error) : -ENODEV;
	/* A callback that sets its timer again must not miss the next device */
	if (vm && READ_ONCE(vm->waiting) && READ_ONCE(vm->runner) == current)
		err = 0;
	if (err)
		goto out_unlock;

	raw_spin_lock_irqsave(&vm->ask_lock, flags);
	ask = list_first_entry_or_null(&vm->free_asks, struct vmisc_ask, node);
	if (ask) {
		ask->func = func;
		ask->context = context;
		ask->at = ktime_get();
		ask->delay_ms = delay_ms;
		list_move_tail(&ask->node, &vm->asks);
	}
	raw_spin_unlock_irqrestore(&vm->ask_lock, flags);

	if (ask)
		irq_work_queue(&vm->ask_irq);
	else
		err = -ENOMEM;

out_unlock:
	rcu_read_unlock();

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
 * Context: Process context. Sleeps until the device has answered: at most for
 * as long as the module parameter answer_timeout says, and until there is a
 * signal.
 * Return: id of the timer, greater than 0; or -EINVAL, -EOPNOTSUPP when the
 * device has no such timers (an interval takes NSEC, PERIODIC and CANCEL),
 * -ENOSPC when it has no room for another, -ENODEV, -ERESTARTSYS when there was
 * a signal, -ETIMEDOUT when the device does not answer, -ENOMEM, -EIO. After an
 * error the callback is not called.
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

	ret = vmisc_timer_set_and_wait(&call->timer, delay_ns, interval_ns);

	spin_lock_irq(&vm->lock);
	/* A callback that was called shows that the timer was set */
	if (!ret || call->called)
		ret = call->timer.id;
	else
		vmisc_call_close(call);
	spin_unlock_irq(&vm->lock);

	vmisc_timer_put(&call->timer);
out_put:
	vmisc_put(vm);

	return ret;
}
EXPORT_SYMBOL_GPL(virtio_misc_start_timer);

/**
 * vmisc_call_wait() - wait until a callback has returned
 * @vm: device data
 * @call: timer, to which the caller has a reference
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
	struct vmisc_call *call;
	int ret = -ENOENT;

	if (!vm)
		return -ENODEV;

	spin_lock_irq(&vm->lock);
	call = to_call(xa_load(&vm->timers, id));
	if (call) {
		refcount_inc(&call->timer.ref);
		if (vmisc_call_drop(call))
			ret = 0;
		if (!call->timer.closed &&
		    (vm->running != call || call->timer.interval_ns))
			ret = 0;
		if (!ret)
			vmisc_call_close(call);
		vmisc_call_wait(vm, call);
		vmisc_timer_put(&call->timer);
	}
	spin_unlock_irq(&vm->lock);

	vmisc_put(vm);

	return ret;
}
EXPORT_SYMBOL_GPL(virtio_misc_cancel_timer);

/**
 * vmisc_close_callback() - close all timers that have a callback
 * @vm: device data
 * @func: callback
 *
 * What a call of @func sets meanwhile is closed, too: it comes at the end.
 *
 * Context: Process context. Called with vm->lock held, releases it meanwhile.
 */
static void vmisc_close_callback(struct vmisc *vm, misc_timer_cb func)
{
	struct vmisc_link here = {}, *link;
	unsigned int steps = 0;
	struct vmisc_call *call;

	list_add(&here.node, &vm->all);
	while (!list_is_last(&here.node, &vm->all)) {
		link = list_next_entry(&here, node);
		list_move(&here.node, &link->node);
		call = to_call(link->timer);
		if (call && call->func == func)
			vmisc_call_close(call);
		vmisc_breathe(vm, &steps);
	}
	list_del(&here.node);
	vmisc_drop_asks(vm, func);
}

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
	struct vmisc_call *call;
	bool again;

	if (!vm)
		return;

	spin_lock_irq(&vm->lock);
	do {
		vmisc_close_callback(vm, func);

		/* A call that was running may have set another timer */
		call = vm->running;
		again = call && call->func == func;
		if (again) {
			refcount_inc(&call->timer.ref);
			again = vmisc_call_wait(vm, call);
			vmisc_timer_put(&call->timer);
		}
	} while (again);
	spin_unlock_irq(&vm->lock);

	vmisc_put(vm);
}
EXPORT_SYMBOL_GPL(virtio_misc_cancel_callback);
