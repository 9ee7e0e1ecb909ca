// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc driver core
 *
 * Drives virtio-misc (device id 70): the guest sets timers, the device keeps
 * them and notifies when they expire.
 */

#include <linux/debugfs.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/rculist.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "virtio_compat.h"
#include "virtio_misc_internal.h"

/* What is read of a PCI function that is not there any more; no device has it */
#define VMISC_STATUS_GONE	0xff

/* Resets in a row that bring nothing, after which a device is given up */
#define VMISC_MAX_RESETS	8

/*
 * Bound devices, and those that are gone and left timers behind; they leave the
 * list, and then all readers of it, before us
 */
static LIST_HEAD(vmisc_devices);
static DEFINE_SPINLOCK(vmisc_devices_lock);

/* Post no notification buffers while set, to see what the device does then */
static bool vmisc_notify_hold;
static struct dentry *vmisc_debugfs;

static unsigned int answer_timeout = 30;
module_param(answer_timeout, uint, 0644);
MODULE_PARM_DESC(answer_timeout,
		 "Longest time to wait for the device's answer [s] (default: 30)");

static void vmisc_free(struct kref *ref)
{
	struct vmisc *vm = container_of(ref, struct vmisc, ref);
	unsigned int i;

	for (i = 0; i < vm->num_notes; i++)
		kfree(vm->notes[i]);
	xa_destroy(&vm->timers);
	kfree(vm);
}

/**
 * vmisc_put() - drop a reference to device data
 * @vm: device data
 *
 * Context: Any context.
 */
void vmisc_put(struct vmisc *vm)
{
	kref_put(&vm->ref, vmisc_free);
}

/* Whether it is, or was before, this virtio device. RCU read lock held. */
static bool vmisc_has_been(struct vmisc *vm, struct virtio_device *vdev)
{
	struct vmisc_past *past;

	if (READ_ONCE(vm->vdev) == vdev)
		return true;

	list_for_each_entry_rcu(past, &vm->past, node)
		if (past->vdev == vdev)
			return true;

	return false;
}

/**
 * vmisc_find() - find the device data of a virtio device
 * @vdev: virtio device, of any kind, with any driver; one that was unplugged
 *	  stands for the one that took its place
 *
 * Context: Any context but NMI. RCU read lock held.
 * Return: device data, good until the RCU read lock is released, or NULL if we
 * do not drive it.
 */
struct vmisc *vmisc_find(struct virtio_device *vdev)
{
	struct vmisc *vm;

	list_for_each_entry_rcu(vm, &vmisc_devices, node)
		if (vmisc_has_been(vm, vdev))
			return vm;

	return NULL;
}

/**
 * vmisc_get() - find the device data of a virtio device, and keep it
 * @vdev: virtio device, of any kind, with any driver
 *
 * Context: Any context but NMI.
 * Return: device data with a reference, or NULL if we do not drive it.
 */
struct vmisc *vmisc_get(struct virtio_device *vdev)
{
	struct vmisc *vm;

	rcu_read_lock();
	vm = vmisc_find(vdev);
	if (vm)
		kref_get(&vm->ref);
	rcu_read_unlock();

	return vm;
}

/**
 * vmisc_get_index() - find a virtio device by the number of its character device
 * @index: N of /dev/virtio-timerN
 *
 * Context: Any context but NMI.
 * Return: virtio device with a reference, or NULL.
 */
struct virtio_device *vmisc_get_index(unsigned int index)
{
	struct virtio_device *vdev = NULL;
	struct vmisc *vm;

	rcu_read_lock();
	list_for_each_entry_rcu(vm, &vmisc_devices, node) {
		if (!READ_ONCE(vm->parked) && vm->index == index) {
			vdev = READ_ONCE(vm->vdev);
			get_device(&vdev->dev);
			break;
		}
	}
	rcu_read_unlock();

	return vdev;
}

/* The virtio device itself can't be asked while it has no driver */
static bool vmisc_has_feature(const struct vmisc *vm, unsigned int bit)
{
	return vm->features & BIT(bit);
}

/**
 * vmisc_timer_init() - initialize a timer in its owner's structure
 * @timer: timer, zeroed; gets one reference
 * @vm: device data
 * @ops: of the owner
 * @gfp: for the memory it needs
 *
 * Context: Any context that @gfp allows.
 * Return: 0 or -ENOMEM.
 */
int vmisc_timer_init(struct vmisc_timer *timer, struct vmisc *vm,
		     const struct vmisc_owner_ops *ops, gfp_t gfp)
{
	timer->dma = kzalloc(sizeof(*timer->dma), gfp);
	if (!timer->dma)
		return -ENOMEM;

	refcount_set(&timer->ref, 1);
	timer->vm = vm;
	timer->ops = ops;
	timer->state = VMISC_IDLE;
	timer->status = -EINPROGRESS;
	timer->link.timer = timer;
	INIT_LIST_HEAD(&timer->request_node);

	return 0;
}

/**
 * vmisc_timer_put() - drop a reference to a timer
 * @timer: timer
 *
 * Context: Any context.
 */
void vmisc_timer_put(struct vmisc_timer *timer)
{
	if (refcount_dec_and_test(&timer->ref)) {
		kfree(timer->dma);
		kfree(timer);
	}
}

/* Two timers with one deadline keep the order of their ids, any order will do */
static bool vmisc_timer_before(const struct vmisc_timer *timer,
			       ktime_t deadline, u32 id)
{
	if (timer->deadline != deadline)
		return timer->deadline < deadline;

	return timer->id < id;
}

static bool vmisc_order_less(struct rb_node *a, const struct rb_node *b)
{
	const struct vmisc_timer *second =
		rb_entry(b, struct vmisc_timer, order_node);

	return vmisc_timer_before(rb_entry(a, struct vmisc_timer, order_node),
				  second->deadline, second->id);
}

/**
 * vmisc_first_from() - find a timer by its place in the order of deadlines
 * @vm: device data
 * @deadline: deadline
 * @id: the timer sought is not before a timer with this @deadline and id
 *
 * Context: Any context. vm->lock held.
 * Return: timer, or NULL.
 */
static struct vmisc_timer *vmisc_first_from(struct vmisc *vm, ktime_t deadline,
					    u32 id)
{
	struct rb_node *node = vm->by_deadline.rb_root.rb_node;
	struct vmisc_timer *timer, *found = NULL;

	while (node) {
		timer = rb_entry(node, struct vmisc_timer, order_node);
		if (vmisc_timer_before(timer, deadline, id)) {
			node = node->rb_right;
		} else {
			found = timer;
			node = node->rb_left;
		}
	}

	return found;
}

/**
 * vmisc_queue_set() - queue the request to set a timer
 * @timer: timer, its request idle or queued already
 * @delay_ns: time from @asked_at to its next expiry [ns]
 * @asked_at: CLOCK_MONOTONIC
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_queue_set(struct vmisc_timer *timer, u64 delay_ns,
			    ktime_t asked_at)
{
	struct vmisc *vm = timer->vm;

	timer->delay_ns = delay_ns;
	timer->asked_at = asked_at;
	timer->epoch = vm->epoch;
	timer->request = VMISC_SET;
	timer->state = VMISC_QUEUED;
	list_move_tail(&timer->request_node, &vm->backlog);
}

/**
 * vmisc_fill_set() - write the request to set a timer
 * @timer: timer
 *
 * What fits into the request that every device has goes there. The time that
 * the request had to wait is taken off, unless it is less than one that is
 * worth a request in ns.
 *
 * Return: size of the request in bytes.
 */
static size_t vmisc_fill_set(struct vmisc_timer *timer)
{
	u64 waited = ktime_to_ns(ktime_sub(ktime_get(), timer->asked_at));
	struct vmisc_dma *dma = timer->dma;
	u64 delay_ns = timer->delay_ns;
	u64 delay_ms;
	bool whole_ms;

	if (waited >= NSEC_PER_MSEC)
		delay_ns -= min(waited, delay_ns);
	delay_ms = DIV_ROUND_UP_ULL(delay_ns, NSEC_PER_MSEC);
	whole_ms = delay_ms * NSEC_PER_MSEC == delay_ns &&
		   delay_ms <= U32_MAX && !timer->interval_ns;

	if (whole_ms || !vmisc_has_feature(timer->vm, VIRTIO_MISC_F_NSEC)) {
		dma->set.type = cpu_to_le32(VIRTIO_MISC_SET_TIMER);
		dma->set.delay_ms = cpu_to_le32(min_t(u64, delay_ms, U32_MAX));
		dma->set.request_id = cpu_to_le32(timer->id);

		return sizeof(dma->set);
	}

	dma->set_ns.type = cpu_to_le32(VIRTIO_MISC_SET_TIMER_NS);
	dma->set_ns.request_id = cpu_to_le32(timer->id);
	dma->set_ns.delay_ns = cpu_to_le64(delay_ns);
	dma->set_ns.interval_ns = cpu_to_le64(timer->interval_ns);

	return sizeof(dma->set_ns);
}

static size_t vmisc_fill_cancel(struct vmisc_timer *timer)
{
	struct vmisc_dma *dma = timer->dma;

	dma->cancel.type = cpu_to_le32(VIRTIO_MISC_CANCEL_TIMER);
	dma->cancel.reserved = 0;
	dma->cancel.request_id = cpu_to_le32(timer->id);

	return sizeof(dma->cancel);
}

/**
 * vmisc_queue_cancel() - queue the request to cancel a timer
 * @timer: timer, its request idle
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_queue_cancel(struct vmisc_timer *timer)
{
	timer->request = VMISC_CANCEL;
	timer->state = VMISC_QUEUED;
	list_add_tail(&timer->request_node, &timer->vm->backlog);
}

/* A device that was reset has forgotten it */
static bool vmisc_timer_forgotten(const struct vmisc_timer *timer)
{
	return timer->gone || timer->epoch != timer->vm->epoch;
}

/**
 * vmisc_timer_settle() - do what is to be done about a closed timer
 * @timer: timer; does nothing if it is not closed
 *
 * Called whenever something about it has changed. Cancels it in the device, or
 * gives up its id when the device is through with it. Without CANCEL that is
 * when the late notification comes.
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow. The caller
 * has a reference, or does not touch the timer after this.
 */
void vmisc_timer_settle(struct vmisc_timer *timer)
{
	struct vmisc *vm = timer->vm;

	if (!timer->closed || timer->busy || !timer->listed)
		return;

	if (timer->state == VMISC_QUEUED &&
	    (timer->request == VMISC_SET || vmisc_timer_forgotten(timer))) {
		list_del_init(&timer->request_node);
		timer->state = VMISC_IDLE;
		timer->gone = true;
	}
	if (timer->state != VMISC_IDLE)
		return;

	if (vmisc_timer_forgotten(timer)) {
		timer->listed = false;
		xa_erase(&vm->timers, timer->id);
		rb_erase_cached(&timer->order_node, &vm->by_deadline);
		list_del(&timer->link.node);
		vmisc_timer_put(timer);
	} else if (vmisc_has_feature(vm, VIRTIO_MISC_F_CANCEL) &&
		   !timer->uncancellable) {
		vmisc_queue_cancel(timer);
	}
}

/**
 * vmisc_timer_close() - the owner wants no more of a timer
 * @timer: timer
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow. The caller
 * has a reference, or does not touch the timer after this.
 */
void vmisc_timer_close(struct vmisc_timer *timer)
{
	timer->closed = true;
	vmisc_timer_settle(timer);
}

/**
 * vmisc_set_answered() - the device has answered a request to set a timer
 * @timer: timer
 * @err: 0 or negative errno
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_set_answered(struct vmisc_timer *timer, int err)
{
	struct vmisc *vm = timer->vm;
	bool again = !timer->status;

	if (!err)
		vm->resets = 0;

	if (err && !timer->gone) {
		timer->gone = true;
		timer->closed = true;
		if (again && timer->ops->lost)
			timer->ops->lost(timer, err);
		else if (!timer->waiter)
			dev_warn_ratelimited(&vm->vdev->dev,
					     "timer %u was refused: %d\n",
					     timer->id, err);
	}

	if (!again)
		WRITE_ONCE(timer->status, err);
	if (timer->waiter)
		wake_up(&timer->waiter->answered);
	vmisc_timer_settle(timer);
}

/**
 * vmisc_post_notes() - give the device all notification buffers there are
 * @vm: device data
 *
 * Context: Any context. vm->lock held.
 */
static void vmisc_post_notes(struct vmisc *vm)
{
	struct virtio_misc_notification *note;
	struct scatterlist sg;
	bool added = false;

	while (vm->up && vm->num_notes && !READ_ONCE(vmisc_notify_hold)) {
		note = vm->notes[vm->num_notes - 1];
		sg_init_one(&sg, note, sizeof(*note));
		/* No room: the virtqueue has as many as it takes */
		if (virtqueue_add_inbuf(vm->notifyq, &sg, 1, note, GFP_ATOMIC))
			break;
		vm->num_notes--;
		added = true;
	}

	if (added)
		virtqueue_kick(vm->notifyq);
}

/**
 * vmisc_timer_advance() - a periodic timer expired
 * @timer: timer
 * @expirations: how often, if the device is to be believed
 * @now: CLOCK_MONOTONIC
 *
 * Whatever that says, the next expiry is at most an interval away.
 *
 * Context: Any context. vm->lock held.
 */
static void vmisc_timer_advance(struct vmisc_timer *timer, u64 expirations,
				ktime_t now)
{
	struct vmisc *vm = timer->vm;
	ktime_t latest = ktime_add_safe(now, ns_to_ktime(timer->interval_ns));
	u64 time;

	rb_erase_cached(&timer->order_node, &vm->by_deadline);
	if (check_mul_overflow(expirations, timer->interval_ns, &time) ||
	    time > KTIME_MAX)
		time = KTIME_MAX;
	timer->deadline = min(ktime_add_safe(timer->deadline, ns_to_ktime(time)),
			      latest);
	rb_add_cached(&timer->order_node, &vm->by_deadline, vmisc_order_less);
}

/**
 * vmisc_notified() - handle one notification
 * @vm: device data
 * @note: copy that the device can no longer change
 * @len: bytes that the device says it has written
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_notified(struct vmisc *vm,
			   const struct virtio_misc_notification *note,
			   unsigned int len)
{
	struct vmisc_timer *timer;
	u64 expirations = 1;
	ktime_t now;

	if (len < offsetofend(struct virtio_misc_notification, request_id) ||
	    len > sizeof(*note) ||
	    le32_to_cpu(note->type) != VIRTIO_MISC_TIMER_EXPIRED) {
		dev_warn_ratelimited(&vm->vdev->dev,
				     "notification of %u bytes, type %u: ignored\n",
				     len, le32_to_cpu(note->type));
		return;
	}

	timer = xa_load(&vm->timers, le32_to_cpu(note->request_id));
	/* Nor can it have expired before the device has heard of it */
	if (!timer || vmisc_timer_forgotten(timer) ||
	    (timer->state == VMISC_QUEUED && timer->request == VMISC_SET)) {
		dev_warn_ratelimited(&vm->vdev->dev,
				     "notification for unknown timer %u: ignored\n",
				     le32_to_cpu(note->request_id));
		return;
	}

	vm->resets = 0;
	now = ktime_get();
	if (timer->interval_ns) {
		if (len == sizeof(*note))
			expirations = max(le64_to_cpu(note->expirations), 1ULL);
		vmisc_timer_advance(timer, expirations, now);
	} else {
		timer->gone = true;
	}

	if (timer->closed)
		vmisc_timer_settle(timer);
	else
		timer->ops->expired(timer, expirations, now);
}

/**
 * vmisc_take_notes() - handle the notifications that are there
 * @vm: device data
 *
 * The buffers are free for the next ones before any callback runs.
 *
 * Context: Any context. vm->lock held. vmisc_post_notes() and vmisc_send()
 * have to follow.
 */
static void vmisc_take_notes(struct vmisc *vm)
{
	struct virtio_misc_notification *buf, note;
	unsigned int len;

	while ((buf = virtqueue_get_buf(vm->notifyq, &len))) {
		note = *buf;
		vm->notes[vm->num_notes++] = buf;
		vmisc_notified(vm, &note, len);
	}
}

/**
 * vmisc_cancel_answered() - the device has answered a request to cancel
 * @timer: timer
 * @err: 0 or negative errno
 *
 * Context: Any context. vm->lock held. vmisc_post_notes() and vmisc_send()
 * have to follow.
 */
static void vmisc_cancel_answered(struct vmisc_timer *timer, int err)
{
	struct vmisc *vm = timer->vm;

	if (!err || err == -ENOENT) {
		/*
		 * Nothing more comes of this timer, but notifications that were
		 * sent before may still be waiting. They must not be taken for
		 * those of a later timer with the same id.
		 */
		vmisc_take_notes(vm);
		timer->gone = true;
	} else {
		timer->uncancellable = true;
		dev_warn_ratelimited(&vm->vdev->dev,
				     "timer %u was not cancelled: %d\n",
				     timer->id, err);
	}

	vmisc_timer_settle(timer);
}

/**
 * vmisc_answered() - the device has answered a request, or never will
 * @timer: timer
 * @err: 0 or negative errno
 *
 * Context: Any context. vm->lock held. vmisc_post_notes() and vmisc_send()
 * have to follow.
 */
static void vmisc_answered(struct vmisc_timer *timer, int err)
{
	refcount_inc(&timer->ref);
	timer->state = VMISC_IDLE;
	if (timer->request == VMISC_SET)
		vmisc_set_answered(timer, err);
	else
		vmisc_cancel_answered(timer, err);
	vmisc_timer_put(timer);
}

/**
 * vmisc_check_later() - look soon whether the device needs a reset
 * @vm: device data
 *
 * At most once a second: a device that always needs one must not keep us busy.
 *
 * Context: Any context. vm->lock held.
 */
static void vmisc_check_later(struct vmisc *vm)
{
	unsigned long now = jiffies;
	unsigned long next = vm->resets ? vm->reset_at + HZ : now;

	if (!vm->removing)
		queue_delayed_work(system_freezable_wq, &vm->reset_work,
				   time_after(next, now) ? next - now : 0);
}

/**
 * vmisc_send() - send queued requests, as far as there is room
 * @vm: device data
 *
 * Context: Any context. vm->lock held.
 */
void vmisc_send(struct vmisc *vm)
{
	struct scatterlist out_sg, in_sg, *sgs[] = { &out_sg, &in_sg };
	struct vmisc_timer *timer;
	bool added = false;
	size_t size;
	int err;

	while (vm->up && (timer = list_first_entry_or_null(&vm->backlog,
							   struct vmisc_timer,
							   request_node))) {
		struct vmisc_dma *dma = timer->dma;

		if (timer->request == VMISC_SET)
			size = vmisc_fill_set(timer);
		else
			size = vmisc_fill_cancel(timer);
		sg_init_one(&out_sg, dma, size);
		sg_init_one(&in_sg, &dma->status, sizeof(dma->status));

		err = virtqueue_add_sgs(vm->controlq, sgs, 1, 1, timer,
					GFP_ATOMIC);
		if (err == -ENOSPC)
			break;
		if (err && virtqueue_is_broken(vm->controlq)) {
			vmisc_check_later(vm);
			break;
		}

		list_del_init(&timer->request_node);
		timer->state = VMISC_SENT;
		if (err)
			vmisc_answered(timer, err);
		else
			added = true;
	}

	/* Under the lock, or the virtqueue could go meanwhile */
	if (added)
		virtqueue_kick(vm->controlq);
}

/**
 * vmisc_timer_set() - set a timer
 * @timer: timer, initialized
 * @delay_ns: time to its expiry [ns]
 * @interval_ns: time between later expiries [ns], 0 if it expires once
 * @asked_at: CLOCK_MONOTONIC from which @delay_ns counts
 *
 * Does not wait for the device's answer.
 *
 * Context: Any context. vm->lock held. There is a device, or will be one.
 * Return: 0 or negative errno.
 */
int vmisc_timer_set(struct vmisc_timer *timer, u64 delay_ns, u64 interval_ns,
		    ktime_t asked_at)
{
	struct vmisc *vm = timer->vm;
	int err;

	if (delay_ns > KTIME_MAX || interval_ns > KTIME_MAX ||
	    (interval_ns && interval_ns < VIRTIO_MISC_MIN_INTERVAL_NS))
		return -EINVAL;

	/* A periodic timer that can't be cancelled would never end */
	if (interval_ns && !(vmisc_has_feature(vm, VIRTIO_MISC_F_PERIODIC) &&
			     vmisc_has_feature(vm, VIRTIO_MISC_F_CANCEL) &&
			     vmisc_has_feature(vm, VIRTIO_MISC_F_NSEC)))
		return -EOPNOTSUPP;
	if (!vmisc_has_feature(vm, VIRTIO_MISC_F_NSEC) &&
	    delay_ns > (u64)U32_MAX * NSEC_PER_MSEC)
		return -EINVAL;

	err = xa_alloc_cyclic(&vm->timers, &timer->id, timer, xa_limit_31b,
			      &vm->next_id, GFP_ATOMIC);
	if (err < 0)
		return err;

	refcount_inc(&timer->ref);
	timer->listed = true;
	timer->interval_ns = interval_ns;
	timer->deadline = ktime_add_safe(asked_at, ns_to_ktime(delay_ns));
	list_add_tail(&timer->link.node, &vm->all);
	rb_add_cached(&timer->order_node, &vm->by_deadline, vmisc_order_less);
	vmisc_queue_set(timer, delay_ns, asked_at);
	vmisc_send(vm);

	return 0;
}

/**
 * vmisc_timer_set_and_wait() - set a timer and wait for the device's answer
 * @timer: timer, initialized
 * @delay_ns: time to its expiry [ns]
 * @interval_ns: time between later expiries [ns], 0 if it expires once
 *
 * The timer may have expired when this returns. On error the caller has to
 * close it.
 *
 * Context: Process context.
 * Return: 0 when it is set, -ERESTARTSYS when there is a signal, -ETIMEDOUT, or
 * another negative errno.
 */
int vmisc_timer_set_and_wait(struct vmisc_timer *timer, u64 delay_ns,
			     u64 interval_ns)
{
	unsigned long timeout = READ_ONCE(answer_timeout) * (unsigned long)HZ;
	struct vmisc_waiter waiter = { .timer = timer };
	struct vmisc *vm = timer->vm;
	long left = 0;
	int err;

	init_waitqueue_head(&waiter.answered);

	spin_lock_irq(&vm->lock);
	timer->waiter = &waiter;
	list_add_tail(&waiter.node, &vm->waiters);
	/* Once the driver is unbound, the virtio device may be gone */
	err = vm->error;
	if (!err)
		err = vmisc_timer_set(timer, delay_ns, interval_ns,
				      ktime_get());
	spin_unlock_irq(&vm->lock);

	if (!err)
		left = wait_event_freezable_timeout(waiter.answered,
						    READ_ONCE(timer->status) != -EINPROGRESS,
						    clamp(timeout, 1UL, LONG_MAX / 2UL));

	spin_lock_irq(&vm->lock);
	list_del(&waiter.node);
	timer->waiter = NULL;
	if (!err)
		err = timer->status;
	spin_unlock_irq(&vm->lock);

	/* Freezing looks like a signal, too: then the call is made again */
	if (err == -EINPROGRESS)
		err = left < 0 ? -ERESTARTSYS : -ETIMEDOUT;
	if (err == -ETIMEDOUT) {
		spin_lock_irq(&vm->lock);
		vmisc_check_later(vm);
		spin_unlock_irq(&vm->lock);
	}

	return err;
}

/**
 * vmisc_fail_all() - the device will neither answer nor notify any more
 * @vm: device data
 * @error: negative errno, for all who wait and for all who come later
 *
 * Requests stay where they are: until a reset the device may use them.
 *
 * Context: Any context. Takes and releases vm->lock.
 */
static void vmisc_fail_all(struct vmisc *vm, int error)
{
	struct vmisc_waiter *waiter;
	unsigned long flags;

	spin_lock_irqsave(&vm->lock, flags);
	WRITE_ONCE(vm->error, error);
	list_for_each_entry(waiter, &vm->waiters, node) {
		if (waiter->timer->status == -EINPROGRESS) {
			WRITE_ONCE(waiter->timer->status, error);
			wake_up(&waiter->answered);
		}
	}
	vmisc_chardev_wake(vm);
	spin_unlock_irqrestore(&vm->lock, flags);
}

/**
 * vmisc_status_to_errno() - read what a request came to
 * @timer: timer
 * @len: bytes that the device says it has written
 *
 * Return: 0 or negative errno.
 */
static int vmisc_status_to_errno(struct vmisc_timer *timer, unsigned int len)
{
	if (len != sizeof(timer->dma->status))
		return -EIO;

	switch (le32_to_cpu(READ_ONCE(timer->dma->status))) {
	case VIRTIO_MISC_S_OK:
		return 0;
	case VIRTIO_MISC_S_UNSUPPORTED:
		return -EOPNOTSUPP;
	case VIRTIO_MISC_S_INVALID:
		return -EINVAL;
	case VIRTIO_MISC_S_EXISTS:
		return -EEXIST;
	case VIRTIO_MISC_S_NOT_FOUND:
		return -ENOENT;
	case VIRTIO_MISC_S_NO_SPACE:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

/**
 * vmisc_take_answers() - handle the answers that are there
 * @vm: device data
 *
 * Context: Any context. vm->lock held. vmisc_post_notes() and vmisc_send()
 * have to follow.
 */
static void vmisc_take_answers(struct vmisc *vm)
{
	struct vmisc_timer *timer;
	unsigned int len;

	while ((timer = virtqueue_get_buf(vm->controlq, &len)))
		vmisc_answered(timer, vmisc_status_to_errno(timer, len));
}

/**
 * vmisc_controlq_done() - the device has answered requests
 * @vq: virtqueue
 *
 * Context: virtqueue callback, typically interrupt. Takes and releases vm->lock.
 */
static void vmisc_controlq_done(struct virtqueue *vq)
{
	struct vmisc *vm = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&vm->lock, flags);
	if (vm->up) {
		do {
			virtqueue_disable_cb(vq);
			vmisc_take_answers(vm);
		} while (!virtqueue_enable_cb(vq));
		vmisc_post_notes(vm);
		vmisc_send(vm);
		if (virtqueue_is_broken(vq))
			vmisc_check_later(vm);
	}
	spin_unlock_irqrestore(&vm->lock, flags);
}

/**
 * vmisc_notifyq_done() - the device has notified of expiries
 * @vq: virtqueue
 *
 * Context: virtqueue callback, typically interrupt. Takes and releases vm->lock.
 */
static void vmisc_notifyq_done(struct virtqueue *vq)
{
	struct vmisc *vm = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&vm->lock, flags);
	if (vm->up) {
		do {
			virtqueue_disable_cb(vq);
			vmisc_take_notes(vm);
		} while (!virtqueue_enable_cb(vq));
		vmisc_post_notes(vm);
		vmisc_send(vm);
		if (virtqueue_is_broken(vq))
			vmisc_check_later(vm);
	}
	spin_unlock_irqrestore(&vm->lock, flags);
}

/**
 * vmisc_config_changed() - the device reports a change
 * @vdev: virtio device
 *
 * Reading the status may sleep on some transports.
 *
 * Context: Interrupt, config_lock held.
 */
static void vmisc_config_changed(struct virtio_device *vdev)
{
	struct vmisc *vm = vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&vm->lock, flags);
	vmisc_check_later(vm);
	spin_unlock_irqrestore(&vm->lock, flags);
}

static int vmisc_get_notify_hold(void *data, u64 *value)
{
	*value = READ_ONCE(vmisc_notify_hold);

	return 0;
}

static int vmisc_set_notify_hold(void *data, u64 value)
{
	struct vmisc *vm;
	unsigned long flags;

	WRITE_ONCE(vmisc_notify_hold, value);

	spin_lock_irqsave(&vmisc_devices_lock, flags);
	list_for_each_entry(vm, &vmisc_devices, node) {
		spin_lock(&vm->lock);
		vmisc_post_notes(vm);
		spin_unlock(&vm->lock);
	}
	spin_unlock_irqrestore(&vmisc_devices_lock, flags);

	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(vmisc_notify_hold_fops, vmisc_get_notify_hold,
			 vmisc_set_notify_hold, "%llu\n");

/**
 * vmisc_breathe() - let interrupts in now and then in a long loop
 * @vm: device data
 * @steps: of the loop since it did so last
 *
 * Context: Process context. Called with vm->lock held, may release it meanwhile.
 */
void vmisc_breathe(struct vmisc *vm, unsigned int *steps)
{
	if (++*steps < VMISC_BATCH)
		return;

	*steps = 0;
	spin_unlock_irq(&vm->lock);
	cond_resched();
	spin_lock_irq(&vm->lock);
}

/**
 * vmisc_set_again() - set the timers that there are, after a reset
 * @vm: device data, up
 *
 * Each with the time that is left of it, and in the order of their deadlines:
 * those that are overdue, too, expire in order.
 *
 * Context: Process context. vm->lock held, released meanwhile.
 */
static void vmisc_set_again(struct vmisc *vm)
{
	struct vmisc_timer *timer;
	unsigned int steps = 0;
	ktime_t deadline = KTIME_MIN, now;
	u32 id = 0;

	while ((timer = vmisc_first_from(vm, deadline, id))) {
		deadline = timer->deadline;
		id = timer->id + 1;

		if (timer->epoch != vm->epoch) {
			/* Its request was for the device as it was before */
			list_del_init(&timer->request_node);
			timer->state = VMISC_IDLE;
			timer->uncancellable = false;
			if (timer->closed) {
				vmisc_timer_settle(timer);
			} else if (!timer->gone) {
				now = ktime_get();
				vmisc_queue_set(timer,
						max_t(s64, ktime_sub(deadline, now), 0),
						now);
				vmisc_send(vm);
			}
		}
		vmisc_breathe(vm, &steps);
	}
}

/**
 * vmisc_start() - set up the virtqueues and let the device go
 * @vm: device data
 *
 * Context: Process context.
 * Return: 0 or negative errno.
 */
static int vmisc_start(struct vmisc *vm)
{
	struct virtqueue_info info[] = {
		{ "controlq", vmisc_controlq_done },
		{ "notifyq", vmisc_notifyq_done },
	};
	struct virtqueue *vqs[ARRAY_SIZE(info)];
	LIST_HEAD(outdated);
	int err;

	err = virtio_compat_find_vqs(vm->vdev, ARRAY_SIZE(info), vqs, info);
	if (err)
		return err;

	virtio_device_ready(vm->vdev);

	spin_lock_irq(&vm->lock);
	vm->controlq = vqs[0];
	vm->notifyq = vqs[1];
	vm->up = true;
	vm->epoch++;
	WRITE_ONCE(vm->error, 0);
	vmisc_post_notes(vm);
	/* Nothing of it is sent: vmisc_set_again() takes one after the other */
	list_splice_init(&vm->backlog, &outdated);
	vmisc_set_again(vm);
	spin_unlock_irq(&vm->lock);

	WARN_ON_ONCE(!list_empty(&outdated));

	return 0;
}

static bool vmisc_is_gone(struct virtio_device *vdev)
{
	return vdev->config->get_status(vdev) == VMISC_STATUS_GONE;
}

/**
 * vmisc_stop() - reset the device and take the virtqueues down
 * @vm: device data
 *
 * No request is on its way after this, and the device has no timers. One that
 * is gone has none either, and virtio_reset_device() would wait for it for ever.
 *
 * Context: Process context.
 */
static void vmisc_stop(struct vmisc *vm)
{
	struct virtio_misc_notification *note;
	struct vmisc_timer *timer;

	spin_lock_irq(&vm->lock);
	vm->up = false;
	spin_unlock_irq(&vm->lock);

	if (vmisc_is_gone(vm->vdev))
		virtio_break_device(vm->vdev);
	else
		virtio_reset_device(vm->vdev);

	if (!vm->controlq)
		return;

	spin_lock_irq(&vm->lock);
	/* What came before the reset */
	vmisc_take_answers(vm);
	vmisc_take_notes(vm);

	while ((timer = virtqueue_detach_unused_buf(vm->controlq)))
		timer->state = VMISC_IDLE;
	while ((note = virtqueue_detach_unused_buf(vm->notifyq)))
		vm->notes[vm->num_notes++] = note;
	vm->controlq = NULL;
	vm->notifyq = NULL;
	vm->epoch++;
	spin_unlock_irq(&vm->lock);

	vm->vdev->config->del_vqs(vm->vdev);
}

/**
 * vmisc_drop_timers() - give up timers, at the end
 * @vm: device data, stopped
 * @all: those that would wait for another device, too
 *
 * Context: Process context. Nobody sets such timers any more.
 */
static void vmisc_drop_timers(struct vmisc *vm, bool all)
{
	struct vmisc_timer *timer;
	unsigned int steps = 0;
	unsigned long id = 0;

	spin_lock_irq(&vm->lock);
	while ((timer = xa_find(&vm->timers, &id, ULONG_MAX, XA_PRESENT))) {
		id++;
		if (all || !timer->ops->stays) {
			timer->gone = true;
			vmisc_timer_close(timer);
		}
		vmisc_breathe(vm, &steps);
	}
	spin_unlock_irq(&vm->lock);
}

#ifdef CONFIG_PM_SLEEP
/* As if the system was suspended and resumed: nobody has to know */
static int vmisc_reset(struct vmisc *vm)
{
	int err = virtio_device_freeze(vm->vdev);

	return err ? err : virtio_device_restore(vm->vdev);
}
#else
static int vmisc_reset(struct vmisc *vm)
{
	return -EIO;
}
#endif

/**
 * vmisc_reset_work() - reset the device if it needs that, and see if it is there
 * @work: work of the device
 *
 * Context: Freezable workqueue: the system is not being suspended.
 */
static void vmisc_reset_work(struct work_struct *work)
{
	struct vmisc *vm = container_of(to_delayed_work(work), struct vmisc,
					reset_work);
	struct virtio_device *vdev = vm->vdev;
	unsigned int resets;
	int err = -EIO;

	if (!vm->controlq)
		return;

	if (vmisc_is_gone(vdev)) {
		dev_err(&vdev->dev, "device is gone\n");
		vmisc_fail_all(vm, -ENODEV);
		return;
	}

	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET ||
	      virtqueue_is_broken(vm->controlq) ||
	      virtqueue_is_broken(vm->notifyq)))
		return;

	spin_lock_irq(&vm->lock);
	resets = vm->resets++;
	vm->reset_at = jiffies;
	spin_unlock_irq(&vm->lock);

	if (resets < VMISC_MAX_RESETS) {
		dev_warn(&vdev->dev, "device needs a reset\n");
		err = vmisc_reset(vm);
	}
	if (err) {
		dev_err(&vdev->dev, "device is given up: %d\n", err);
		vmisc_fail_all(vm, err);
	}
}

static int vmisc_validate(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "legacy devices are not supported\n");
		return -ENODEV;
	}

	if (!vdev->config->get) {
		dev_err(&vdev->dev, "device has no configuration space\n");
		return -EINVAL;
	}

	return 0;
}

static int vmisc_alloc_notes(struct vmisc *vm)
{
	struct virtio_misc_notification *note;

	while (vm->num_notes < ARRAY_SIZE(vm->notes)) {
		note = kzalloc(sizeof(*note), GFP_KERNEL);
		if (!note)
			return -ENOMEM;
		vm->notes[vm->num_notes++] = note;
	}

	return 0;
}

/**
 * vmisc_end() - have done with the device
 * @vm: device data
 *
 * Context: Process context.
 */
static void vmisc_end(struct vmisc *vm)
{
	spin_lock_irq(&vm->lock);
	vm->removing = true;
	spin_unlock_irq(&vm->lock);
	cancel_delayed_work_sync(&vm->reset_work);

	/* First, as a callback that runs now may be waiting for an answer */
	vmisc_fail_all(vm, -ENODEV);
	vmisc_stop(vm);
}

static const unsigned int vmisc_feature_table[] = {
	VIRTIO_MISC_F_CANCEL,
	VIRTIO_MISC_F_PERIODIC,
	VIRTIO_MISC_F_NSEC,
};

static u32 vmisc_features(struct virtio_device *vdev)
{
	u32 features = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vmisc_feature_table); i++)
		if (virtio_has_feature(vdev, vmisc_feature_table[i]))
			features |= BIT(vmisc_feature_table[i]);

	return features;
}

static u32 vmisc_read_max_timers(struct virtio_device *vdev)
{
	u32 max_timers;

	virtio_cread_le(vdev, struct virtio_misc_config, max_timers,
			&max_timers);

	return clamp_t(u32, max_timers, 1, VMISC_MAX_FILE_TIMERS);
}

/* Nobody finds them any more */
static void vmisc_free_past(struct list_head *list)
{
	struct vmisc_past *past, *next;

	list_for_each_entry_safe(past, next, list, node) {
		put_device(&past->vdev->dev);
		kfree(past);
	}
}

/**
 * vmisc_dispose() - let device data go, with all timers
 * @vm: device data, stopped
 *
 * Context: Process context.
 */
static void vmisc_dispose(struct vmisc *vm)
{
	spin_lock_irq(&vm->lock);
	WRITE_ONCE(vm->waiting, false);
	spin_unlock_irq(&vm->lock);

	vmisc_api_drop_calls(vm);
	vmisc_drop_timers(vm, true);

	/*
	 * Now that no callback runs: until here, whoever cancels has to wait for
	 * those that do.
	 */
	spin_lock_irq(&vmisc_devices_lock);
	list_del_rcu(&vm->node);
	spin_unlock_irq(&vmisc_devices_lock);
	synchronize_rcu();

	vmisc_api_exit(vm);
	vmisc_free_past(&vm->past);
	put_device(&vm->vdev->dev);
	vmisc_put(vm);
}

/**
 * vmisc_park() - keep the timers with callbacks for the next device
 * @vm: device data, stopped
 *
 * Context: Process context.
 * Return: false if there are none.
 */
static bool vmisc_park(struct vmisc *vm)
{
	/* Who sees no error yet may be about to ask for a timer */
	synchronize_rcu();
	if (!vmisc_api_pending(vm))
		return false;

	spin_lock_irq(&vmisc_devices_lock);
	WRITE_ONCE(vm->parked, true);
	spin_unlock_irq(&vmisc_devices_lock);

	return true;
}

/*
 * Whether a device can take the place of one that is gone. One that was only
 * unbound may be bound again, and is waited for.
 */
static bool vmisc_can_follow(struct vmisc *vm, struct virtio_device *vdev)
{
	if (vdev == vm->vdev)
		return true;

	return !device_is_registered(&vm->vdev->dev) &&
	       !(vm->features & ~vmisc_features(vdev));
}

/**
 * vmisc_unpark() - find timers that a new device can take over
 * @vdev: virtio device
 *
 * Context: Process context.
 * Return: device data, not parked any more, or NULL.
 */
static struct vmisc *vmisc_unpark(struct virtio_device *vdev)
{
	struct vmisc *vm, *found = NULL;

	spin_lock_irq(&vmisc_devices_lock);
	list_for_each_entry(vm, &vmisc_devices, node) {
		if (vm->parked && vmisc_can_follow(vm, vdev)) {
			WRITE_ONCE(vm->parked, false);
			found = vm;
			break;
		}
	}
	spin_unlock_irq(&vmisc_devices_lock);

	return found;
}

/**
 * vmisc_forget_past() - let go of virtio devices that nobody else knows
 * @vm: device data
 *
 * Context: Process context.
 */
static void vmisc_forget_past(struct vmisc *vm)
{
	struct vmisc_past *past, *next;
	LIST_HEAD(forgotten);

	list_for_each_entry_safe(past, next, &vm->past, node) {
		/* They are gone: who has no reference gets none */
		if (kref_read(&past->vdev->dev.kobj.kref) > 1)
			continue;
		list_del_rcu(&past->node);
		synchronize_rcu();
		list_add(&past->node, &forgotten);
	}
	vmisc_free_past(&forgotten);
}

/* The driver is bound, or was before and left its data */
static int vmisc_go(struct vmisc *vm)
{
	int err;

	err = vmisc_start(vm);
	if (err)
		return err;

	err = vmisc_chardev_add(vm);
	if (err)
		vmisc_end(vm);

	return err;
}

/**
 * vmisc_follow() - take the place of a device that is gone
 * @vm: its device data
 * @vdev: virtio device
 *
 * Its timers go on with the time that is left, as after a reset, and who knows
 * it finds the new device.
 *
 * Context: Process context.
 * Return: 0 or negative errno; then it is parked again.
 */
static int vmisc_follow(struct vmisc *vm, struct virtio_device *vdev)
{
	u32 max_timers = vmisc_read_max_timers(vdev);
	struct virtio_device *old = vm->vdev;
	struct vmisc_past *past = NULL;
	int err;

	if (old != vdev) {
		past = kzalloc(sizeof(*past), GFP_KERNEL);
		if (!past) {
			err = -ENOMEM;
			goto err_park;
		}
		past->vdev = old;
		list_add_rcu(&past->node, &vm->past);
		get_device(&vdev->dev);
		WRITE_ONCE(vm->vdev, vdev);
	}
	vdev->priv = vm;
	spin_lock_irq(&vm->lock);
	vm->features = vmisc_features(vdev);
	vm->max_timers = max_timers;
	vm->resets = 0;
	spin_unlock_irq(&vm->lock);

	err = vmisc_go(vm);
	if (err)
		goto err_undo;

	spin_lock_irq(&vm->lock);
	vm->removing = false;
	WRITE_ONCE(vm->waiting, false);
	/* For what it said before we would hear */
	vmisc_check_later(vm);
	spin_unlock_irq(&vm->lock);
	vmisc_forget_past(vm);

	return 0;

err_undo:
	vdev->priv = NULL;
	if (past) {
		WRITE_ONCE(vm->vdev, old);
		list_del_rcu(&past->node);
		synchronize_rcu();
		put_device(&vdev->dev);
		kfree(past);
	}
err_park:
	spin_lock_irq(&vmisc_devices_lock);
	WRITE_ONCE(vm->parked, true);
	spin_unlock_irq(&vmisc_devices_lock);

	return err;
}

static int vmisc_probe(struct virtio_device *vdev)
{
	struct vmisc *vm;
	int err;

	vm = vmisc_unpark(vdev);
	if (vm)
		return vmisc_follow(vm, vdev);

	vm = kzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return -ENOMEM;

	kref_init(&vm->ref);
	vm->vdev = vdev;
	INIT_LIST_HEAD(&vm->past);
	spin_lock_init(&vm->lock);
	INIT_LIST_HEAD(&vm->backlog);
	xa_init_flags(&vm->timers, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	INIT_LIST_HEAD(&vm->all);
	vm->by_deadline = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&vm->waiters);
	INIT_LIST_HEAD(&vm->files);
	INIT_DELAYED_WORK(&vm->reset_work, vmisc_reset_work);
	vdev->priv = vm;
	vm->features = vmisc_features(vdev);
	vm->max_timers = vmisc_read_max_timers(vdev);

	err = vmisc_alloc_notes(vm);
	if (err)
		goto err_put;

	err = vmisc_api_init(vm);
	if (err)
		goto err_put;

	err = vmisc_go(vm);
	if (err)
		goto err_api_exit;

	get_device(&vdev->dev);
	spin_lock_irq(&vmisc_devices_lock);
	list_add_tail_rcu(&vm->node, &vmisc_devices);
	spin_unlock_irq(&vmisc_devices_lock);

	return 0;

err_api_exit:
	vmisc_drop_timers(vm, true);
	vmisc_api_exit(vm);
err_put:
	vdev->priv = NULL;
	vmisc_put(vm);

	return err;
}

static void vmisc_remove(struct virtio_device *vdev)
{
	struct vmisc *vm = vdev->priv;

	vmisc_chardev_del(vm);

	spin_lock_irq(&vm->lock);
	WRITE_ONCE(vm->waiting, true);
	spin_unlock_irq(&vm->lock);
	vmisc_end(vm);
	vmisc_chardev_gone(vm);
	vmisc_drop_timers(vm, false);

	vdev->priv = NULL;
	if (!vmisc_park(vm))
		vmisc_dispose(vm);
}

#ifdef CONFIG_PM_SLEEP
/*
 * User space and the workqueue are frozen by now. What the device has notified
 * of goes to the owners, all other timers wait for vmisc_restore().
 */
static int vmisc_freeze(struct virtio_device *vdev)
{
	vmisc_stop(vdev->priv);

	return 0;
}

static int vmisc_restore(struct virtio_device *vdev)
{
	int err;

	err = vmisc_start(vdev->priv);
	if (err)
		vmisc_fail_all(vdev->priv, err);

	return err;
}
#endif

static const struct virtio_device_id vmisc_ids[] = {
	{ VIRTIO_ID_MISC, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, vmisc_ids);

static struct virtio_driver vmisc_driver = {
	.feature_table = vmisc_feature_table,
	.feature_table_size = ARRAY_SIZE(vmisc_feature_table),
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = vmisc_ids,
	.validate = vmisc_validate,
	.probe = vmisc_probe,
	.remove = vmisc_remove,
	.config_changed = vmisc_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = vmisc_freeze,
	.restore = vmisc_restore,
#endif
};

static int __init vmisc_init(void)
{
	int err;

	vmisc_debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file_unsafe("notify_hold", 0600, vmisc_debugfs, NULL,
				   &vmisc_notify_hold_fops);

	err = register_virtio_driver(&vmisc_driver);
	if (err)
		debugfs_remove(vmisc_debugfs);

	return err;
}
module_init(vmisc_init);

static void __exit vmisc_exit(void)
{
	struct vmisc *vm, *next;

	unregister_virtio_driver(&vmisc_driver);
	/* Those that no device came for; whose callbacks these are is gone */
	list_for_each_entry_safe(vm, next, &vmisc_devices, node)
		vmisc_dispose(vm);
	debugfs_remove(vmisc_debugfs);
}
module_exit(vmisc_exit);

MODULE_DESCRIPTION("Virtio misc (timers) driver");
MODULE_LICENSE("GPL");
