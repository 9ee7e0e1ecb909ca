// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc driver core
 *
 * Drives virtio-misc (device id 70): the guest sets timers, the device keeps
 * them and notifies when they expire.
 */

#include <linux/list_sort.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "virtio_compat.h"
#include "virtio_misc_internal.h"

/* Bound devices */
static LIST_HEAD(vmisc_devices);
static DEFINE_SPINLOCK(vmisc_devices_lock);

static bool notify_hold;

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

/**
 * vmisc_get() - find the device data of a virtio device
 * @vdev: virtio device, of any kind, with any driver
 *
 * Context: Any context.
 * Return: device data with a reference, or NULL if we do not drive it.
 */
struct vmisc *vmisc_get(struct virtio_device *vdev)
{
	struct vmisc *vm, *found = NULL;
	unsigned long flags;

	spin_lock_irqsave(&vmisc_devices_lock, flags);
	list_for_each_entry(vm, &vmisc_devices, node) {
		if (vm->vdev == vdev) {
			kref_get(&vm->ref);
			found = vm;
			break;
		}
	}
	spin_unlock_irqrestore(&vmisc_devices_lock, flags);

	return found;
}

/**
 * vmisc_get_index() - find device data by the number of the character device
 * @index: N of /dev/virtio_misc_timerN
 *
 * The virtio device gets a reference, too: without it, it might go before the
 * caller had its own.
 *
 * Context: Any context.
 * Return: device data with a reference, or NULL.
 */
struct vmisc *vmisc_get_index(unsigned int index)
{
	struct vmisc *vm, *found = NULL;
	unsigned long flags;

	spin_lock_irqsave(&vmisc_devices_lock, flags);
	list_for_each_entry(vm, &vmisc_devices, node) {
		if (vm->index == index) {
			kref_get(&vm->ref);
			get_device(&vm->vdev->dev);
			found = vm;
			break;
		}
	}
	spin_unlock_irqrestore(&vmisc_devices_lock, flags);

	return found;
}

/**
 * vmisc_timer_init() - initialize a timer in its owner's structure
 * @timer: timer, zeroed; gets one reference
 * @vm: device data
 * @expired: tells the owner of expiries
 * @gfp: for the memory it needs
 *
 * Context: Any context that @gfp allows.
 * Return: 0 or -ENOMEM.
 */
int vmisc_timer_init(struct vmisc_timer *timer, struct vmisc *vm,
		     void (*expired)(struct vmisc_timer *timer, u64 expirations,
				     ktime_t now),
		     gfp_t gfp)
{
	timer->dma = kzalloc(sizeof(*timer->dma), gfp);
	if (!timer->dma)
		return -ENOMEM;

	refcount_set(&timer->ref, 1);
	timer->vm = vm;
	timer->expired = expired;
	timer->state = VMISC_IDLE;
	timer->status = -EINPROGRESS;
	INIT_LIST_HEAD(&timer->request_node);
	init_completion(&timer->answered);

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

/**
 * vmisc_queue_set() - queue the request to set a timer
 * @timer: timer, its request idle or queued already
 * @delay_ns: time to its next expiry [ns]
 *
 * What fits into the request that every device has goes there.
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_queue_set(struct vmisc_timer *timer, u64 delay_ns)
{
	struct vmisc *vm = timer->vm;
	struct vmisc_dma *dma = timer->dma;
	u64 delay_ms = DIV_ROUND_UP_ULL(delay_ns, NSEC_PER_MSEC);
	bool whole_ms = delay_ms * NSEC_PER_MSEC == delay_ns &&
			delay_ms <= U32_MAX && !timer->interval_ns;

	if (whole_ms || !virtio_has_feature(vm->vdev, VIRTIO_MISC_F_NSEC)) {
		dma->set.type = cpu_to_le32(VIRTIO_MISC_SET_TIMER);
		dma->set.delay_ms = cpu_to_le32(min_t(u64, delay_ms, U32_MAX));
		dma->set.request_id = cpu_to_le32(timer->id);
	} else {
		dma->set_ns.type = cpu_to_le32(VIRTIO_MISC_SET_TIMER_NS);
		dma->set_ns.request_id = cpu_to_le32(timer->id);
		dma->set_ns.delay_ns = cpu_to_le64(delay_ns);
		dma->set_ns.interval_ns = cpu_to_le64(timer->interval_ns);
	}

	timer->request = VMISC_SET;
	timer->state = VMISC_QUEUED;
	list_move_tail(&timer->request_node, &vm->backlog);
}

/**
 * vmisc_queue_cancel() - queue the request to cancel a timer
 * @timer: timer, its request idle
 *
 * Context: Any context. vm->lock held. vmisc_send() has to follow.
 */
static void vmisc_queue_cancel(struct vmisc_timer *timer)
{
	struct vmisc_dma *dma = timer->dma;

	dma->cancel.type = cpu_to_le32(VIRTIO_MISC_CANCEL_TIMER);
	dma->cancel.reserved = 0;
	dma->cancel.request_id = cpu_to_le32(timer->id);

	timer->request = VMISC_CANCEL;
	timer->state = VMISC_QUEUED;
	list_add_tail(&timer->request_node, &timer->vm->backlog);
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
	    (timer->request == VMISC_SET || timer->gone)) {
		list_del_init(&timer->request_node);
		timer->state = VMISC_IDLE;
		timer->gone = true;
	}
	if (timer->state != VMISC_IDLE)
		return;

	if (timer->gone) {
		timer->listed = false;
		xa_erase(&vm->timers, timer->id);
		vmisc_timer_put(timer);
	} else if (virtio_has_feature(vm->vdev, VIRTIO_MISC_F_CANCEL) &&
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
	if (err && !timer->gone) {
		timer->gone = true;
		timer->closed = true;
		if (!timer->awaited)
			dev_warn_ratelimited(&timer->vm->vdev->dev,
					     "timer %u was refused: %d\n",
					     timer->id, err);
	}

	timer->status = err;
	complete(&timer->answered);
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

	while (vm->up && vm->num_notes && !READ_ONCE(notify_hold)) {
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

	if (len < offsetofend(struct virtio_misc_notification, request_id) ||
	    len > sizeof(*note) ||
	    le32_to_cpu(note->type) != VIRTIO_MISC_TIMER_EXPIRED) {
		dev_warn_ratelimited(&vm->vdev->dev,
				     "notification of %u bytes, type %u: ignored\n",
				     len, le32_to_cpu(note->type));
		return;
	}

	timer = xa_load(&vm->timers, le32_to_cpu(note->request_id));
	if (!timer || timer->gone) {
		dev_warn_ratelimited(&vm->vdev->dev,
				     "notification for unknown timer %u: ignored\n",
				     le32_to_cpu(note->request_id));
		return;
	}

	if (timer->interval_ns) {
		if (len == sizeof(*note))
			expirations = max(le64_to_cpu(note->expirations), 1ULL);
		timer->deadline += expirations * timer->interval_ns;
	} else {
		timer->gone = true;
	}

	if (timer->closed)
		vmisc_timer_settle(timer);
	else
		timer->expired(timer, expirations, ktime_get());
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

		size = sizeof(dma->set);
		if (dma->set.type == cpu_to_le32(VIRTIO_MISC_SET_TIMER_NS))
			size = sizeof(dma->set_ns);
		sg_init_one(&out_sg, dma, size);
		sg_init_one(&in_sg, &dma->status, sizeof(dma->status));

		err = virtqueue_add_sgs(vm->controlq, sgs, 1, 1, timer,
					GFP_ATOMIC);
		if (err == -ENOSPC)
			break;

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
 *
 * Does not wait for the device's answer. The timer may have expired when this
 * returns.
 *
 * Context: Any context. Takes and releases vm->lock.
 * Return: 0 or negative errno.
 */
int vmisc_timer_set(struct vmisc_timer *timer, u64 delay_ns, u64 interval_ns)
{
	struct vmisc *vm = timer->vm;
	struct virtio_device *vdev = vm->vdev;
	unsigned long flags;
	int err;

	if (delay_ns > KTIME_MAX || interval_ns > KTIME_MAX ||
	    (interval_ns && interval_ns < VIRTIO_MISC_MIN_INTERVAL_NS))
		return -EINVAL;

	spin_lock_irqsave(&vm->lock, flags);

	/* Once the driver is unbound, @vdev may be gone */
	err = vm->error;
	if (err)
		goto out_unlock;

	/* A periodic timer that can't be cancelled would never end */
	if (interval_ns && !(virtio_has_feature(vdev, VIRTIO_MISC_F_PERIODIC) &&
			     virtio_has_feature(vdev, VIRTIO_MISC_F_CANCEL) &&
			     virtio_has_feature(vdev, VIRTIO_MISC_F_NSEC))) {
		err = -EOPNOTSUPP;
		goto out_unlock;
	}
	if (!virtio_has_feature(vdev, VIRTIO_MISC_F_NSEC) &&
	    delay_ns > (u64)U32_MAX * NSEC_PER_MSEC) {
		err = -EINVAL;
		goto out_unlock;
	}

	err = xa_alloc_cyclic(&vm->timers, &timer->id, timer, xa_limit_31b,
			      &vm->next_id, GFP_ATOMIC);
	if (err < 0)
		goto out_unlock;
	err = 0;

	refcount_inc(&timer->ref);
	timer->listed = true;
	timer->interval_ns = interval_ns;
	timer->deadline = ktime_add_safe(ktime_get(), ns_to_ktime(delay_ns));
	vmisc_queue_set(timer, delay_ns);
	vmisc_send(vm);

out_unlock:
	spin_unlock_irqrestore(&vm->lock, flags);

	return err;
}

/**
 * vmisc_timer_await() - wait for the device's answer to a new timer
 * @timer: timer, set, @awaited
 *
 * On error the caller has to close the timer.
 *
 * Context: Process context.
 * Return: 0 when it is set, -EINTR when the task was killed, or another
 * negative errno.
 */
int vmisc_timer_await(struct vmisc_timer *timer)
{
	unsigned long flags;
	int err;

	err = wait_for_completion_state(&timer->answered, VMISC_WAIT);

	spin_lock_irqsave(&timer->vm->lock, flags);
	timer->awaited = false;
	err = err ? -EINTR : timer->status;
	spin_unlock_irqrestore(&timer->vm->lock, flags);

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
	struct vmisc_timer *timer;
	unsigned long flags, id;

	spin_lock_irqsave(&vm->lock, flags);
	vm->error = error;
	xa_for_each(&vm->timers, id, timer) {
		if (timer->status == -EINPROGRESS) {
			timer->status = error;
			complete(&timer->answered);
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

static void vmisc_check_broken(struct vmisc *vm, struct virtqueue *vq)
{
	if (virtqueue_is_broken(vq)) {
		dev_err(&vm->vdev->dev, "%s is broken\n", vq->name);
		vmisc_fail_all(vm, -EIO);
	}
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
	}
	spin_unlock_irqrestore(&vm->lock, flags);

	vmisc_check_broken(vm, vq);
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
	}
	spin_unlock_irqrestore(&vm->lock, flags);

	vmisc_check_broken(vm, vq);
}

/**
 * vmisc_config_changed() - the device reports a change
 * @vdev: virtio device
 *
 * Context: Interrupt, config_lock held.
 */
static void vmisc_config_changed(struct virtio_device *vdev)
{
	if (vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET) {
		dev_err(&vdev->dev, "device needs a reset\n");
		vmisc_fail_all(vdev->priv, -EIO);
	}
}

static int vmisc_set_notify_hold(const char *val, const struct kernel_param *kp)
{
	struct vmisc *vm;
	unsigned long flags;
	int err;

	err = param_set_bool(val, kp);
	if (err)
		return err;

	spin_lock_irqsave(&vmisc_devices_lock, flags);
	list_for_each_entry(vm, &vmisc_devices, node) {
		spin_lock(&vm->lock);
		vmisc_post_notes(vm);
		spin_unlock(&vm->lock);
	}
	spin_unlock_irqrestore(&vmisc_devices_lock, flags);

	return 0;
}

static const struct kernel_param_ops vmisc_notify_hold_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = vmisc_set_notify_hold,
	.get = param_get_bool,
};

module_param_cb(notify_hold, &vmisc_notify_hold_ops, &notify_hold, 0644);
MODULE_PARM_DESC(notify_hold,
		 "Post no notification buffers while set, to test the device (default: N)");

static int vmisc_compare_deadlines(void *priv, const struct list_head *a,
				   const struct list_head *b)
{
	ktime_t first = list_entry(a, struct vmisc_timer, request_node)->deadline;
	ktime_t second = list_entry(b, struct vmisc_timer, request_node)->deadline;

	return ktime_compare(first, second);
}

/**
 * vmisc_start() - set up the virtqueues and let the device go
 * @vm: device data
 *
 * Timers that there are, from before a suspend, are set again: each with the
 * time that was left of it. Those that are overdue, too, expire in order.
 *
 * Return: 0 or negative errno.
 */
static int vmisc_start(struct vmisc *vm)
{
	struct virtqueue_info info[] = {
		{ "controlq", vmisc_controlq_done },
		{ "notifyq", vmisc_notifyq_done },
	};
	struct virtqueue *vqs[ARRAY_SIZE(info)];
	struct vmisc_timer *timer;
	unsigned long id;
	int err;

	err = virtio_compat_find_vqs(vm->vdev, ARRAY_SIZE(info), vqs, info);
	if (err)
		return err;

	virtio_device_ready(vm->vdev);

	spin_lock_irq(&vm->lock);
	vm->controlq = vqs[0];
	vm->notifyq = vqs[1];
	vm->up = true;
	vm->error = 0;
	vmisc_post_notes(vm);
	xa_for_each(&vm->timers, id, timer) {
		if (timer->closed) {
			timer->gone = true;
			vmisc_timer_settle(timer);
		} else if (!timer->gone) {
			vmisc_queue_set(timer,
					max_t(s64, timer->deadline - ktime_get(), 0));
		}
	}
	list_sort(NULL, &vm->backlog, vmisc_compare_deadlines);
	vmisc_send(vm);
	spin_unlock_irq(&vm->lock);

	return 0;
}

/**
 * vmisc_stop() - reset the device and take the virtqueues down
 * @vm: device data
 *
 * No request is on its way after this, and the device has no timers.
 */
static void vmisc_stop(struct vmisc *vm)
{
	struct virtio_misc_notification *note;
	struct vmisc_timer *timer;
	unsigned long id;

	spin_lock_irq(&vm->lock);
	vm->up = false;
	spin_unlock_irq(&vm->lock);

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

	xa_for_each(&vm->timers, id, timer) {
		if (timer->closed) {
			timer->gone = true;
			vmisc_timer_settle(timer);
		}
	}
	spin_unlock_irq(&vm->lock);

	vm->vdev->config->del_vqs(vm->vdev);
}

/**
 * vmisc_drop_timers() - give up all timers, at the end
 * @vm: device data, stopped
 */
static void vmisc_drop_timers(struct vmisc *vm)
{
	struct vmisc_timer *timer;
	unsigned long id;

	spin_lock_irq(&vm->lock);
	xa_for_each(&vm->timers, id, timer) {
		timer->gone = true;
		vmisc_timer_close(timer);
	}
	spin_unlock_irq(&vm->lock);
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

static int vmisc_probe(struct virtio_device *vdev)
{
	struct vmisc *vm;
	u32 max_timers;
	int err;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return -ENOMEM;

	kref_init(&vm->ref);
	vm->vdev = vdev;
	spin_lock_init(&vm->lock);
	INIT_LIST_HEAD(&vm->backlog);
	xa_init_flags(&vm->timers, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	INIT_WORK(&vm->call_work, vmisc_call_work);
	INIT_LIST_HEAD(&vm->calls);
	init_waitqueue_head(&vm->call_done);
	INIT_LIST_HEAD(&vm->files);
	vdev->priv = vm;

	virtio_cread_le(vdev, struct virtio_misc_config, max_timers,
			&max_timers);
	vm->max_timers = clamp_t(u32, max_timers, 1, VMISC_MAX_FILE_TIMERS);

	err = vmisc_alloc_notes(vm);
	if (err)
		goto err_put;

	vm->wq = alloc_ordered_workqueue("virtio_misc/%s",
					 WQ_HIGHPRI | WQ_FREEZABLE,
					 dev_name(&vdev->dev));
	if (!vm->wq) {
		err = -ENOMEM;
		goto err_put;
	}

	err = vmisc_start(vm);
	if (err)
		goto err_destroy_wq;

	err = vmisc_chardev_add(vm);
	if (err)
		goto err_stop;

	spin_lock_irq(&vmisc_devices_lock);
	list_add_tail(&vm->node, &vmisc_devices);
	spin_unlock_irq(&vmisc_devices_lock);

	return 0;

err_stop:
	vmisc_fail_all(vm, -ENODEV);
	vmisc_stop(vm);
	vmisc_drop_timers(vm);
err_destroy_wq:
	destroy_workqueue(vm->wq);
err_put:
	vdev->priv = NULL;
	vmisc_put(vm);

	return err;
}

static void vmisc_remove(struct virtio_device *vdev)
{
	struct vmisc *vm = vdev->priv;

	vmisc_chardev_del(vm);

	/* First, as a callback that runs now may be waiting for an answer */
	vmisc_fail_all(vm, -ENODEV);
	vmisc_stop(vm);

	vmisc_calls_drop(vm);
	destroy_workqueue(vm->wq);
	vmisc_drop_timers(vm);

	/* Last: until here, whoever cancels has to wait for callbacks that run */
	spin_lock_irq(&vmisc_devices_lock);
	list_del(&vm->node);
	spin_unlock_irq(&vmisc_devices_lock);

	vdev->priv = NULL;
	vmisc_put(vm);
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

static const unsigned int vmisc_features[] = {
	VIRTIO_MISC_F_CANCEL,
	VIRTIO_MISC_F_PERIODIC,
	VIRTIO_MISC_F_NSEC,
};

static struct virtio_driver vmisc_driver = {
	.feature_table = vmisc_features,
	.feature_table_size = ARRAY_SIZE(vmisc_features),
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
module_virtio_driver(vmisc_driver);

MODULE_DESCRIPTION("Virtio misc (timers) driver");
MODULE_LICENSE("GPL");
