// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_misc timers for user space: /dev/virtio-timerN
 */

#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>

#include "virtio_misc_internal.h"

static DEFINE_IDA(vmisc_ida);

/**
 * struct vmisc_file - an open character device
 * @vm: device data
 * @read_lock: held while an expiry is on its way to user space: it is taken off
 *	       only when it is there, and not cancelled meanwhile
 * @node: entry in vm->files
 * @timers: its timers, protected by vm->lock as all below
 * @num_timers: how many
 * @expired: timers with expiries that were not read, in order
 * @wait: woken when there is one, or the device is gone
 * @gone: the device was taken away; if another takes its place, that is not ours
 */
struct vmisc_file {
	struct vmisc *vm;
	struct mutex read_lock; /* taken before vm->lock */
	struct list_head node;
	struct list_head timers;
	unsigned int num_timers;
	struct list_head expired;
	wait_queue_head_t wait;
	bool gone;
};

/**
 * struct vmisc_file_timer - a timer of an open file
 * @timer: timer
 * @file: file; good while @node is in its list
 * @node: entry in file->timers, which holds a reference
 * @expired_node: entry in file->expired. There is one for all expiries that
 *		  were not read: a slow reader costs no memory.
 * @cookie: user's name for it
 * @expirations: not read yet
 * @time: CLOCK_MONOTONIC of the last of them
 * @error: why there will be no more of them, or 0; comes after them
 */
struct vmisc_file_timer {
	struct vmisc_timer timer;
	struct vmisc_file *file;
	struct list_head node;
	struct list_head expired_node;
	u64 cookie;
	u64 expirations;
	ktime_t time;
	int error;
};

static_assert(!offsetof(struct vmisc_file_timer, timer));

static struct vmisc_file_timer *to_file_timer(struct vmisc_timer *timer)
{
	return container_of(timer, struct vmisc_file_timer, timer);
}

static void vmisc_file_tell(struct vmisc_file_timer *ft)
{
	struct vmisc_file *file = ft->file;

	if (list_empty(&ft->expired_node)) {
		list_add_tail(&ft->expired_node, &file->expired);
		wake_up_interruptible_poll(&file->wait, EPOLLIN | EPOLLRDNORM);
	}
}

static void vmisc_file_expired(struct vmisc_timer *timer, u64 expirations,
			       ktime_t now)
{
	struct vmisc_file_timer *ft = to_file_timer(timer);

	if (check_add_overflow(ft->expirations, expirations, &ft->expirations))
		ft->expirations = U64_MAX;
	ft->time = now;
	vmisc_file_tell(ft);
}

static void vmisc_file_lost(struct vmisc_timer *timer, int err)
{
	struct vmisc_file_timer *ft = to_file_timer(timer);

	ft->error = err;
	vmisc_file_tell(ft);
}

static const struct vmisc_owner_ops vmisc_file_ops = {
	.expired = vmisc_file_expired,
	.lost = vmisc_file_lost,
};

/**
 * vmisc_file_drop() - take a timer from its file
 * @ft: timer
 *
 * Drops the reference of the file.
 *
 * Context: Any context. vm->lock held.
 */
static void vmisc_file_drop(struct vmisc_file_timer *ft)
{
	struct vmisc *vm = ft->timer.vm;

	list_del_init(&ft->expired_node);
	list_del_init(&ft->node);
	ft->file->num_timers--;
	vmisc_timer_close(&ft->timer);
	vmisc_send(vm);
	vmisc_timer_put(&ft->timer);
}

/**
 * vmisc_chardev_wake() - tell all who wait that the device is gone
 * @vm: device data
 *
 * Context: Any context. vm->lock held.
 */
void vmisc_chardev_wake(struct vmisc *vm)
{
	struct vmisc_file *file;

	list_for_each_entry(file, &vm->files, node)
		wake_up_interruptible_poll(&file->wait, EPOLLERR | EPOLLHUP);
}

/**
 * vmisc_chardev_gone() - the device is taken away from all files
 * @vm: device data, stopped; its character device was removed
 *
 * Context: Process context. Takes and releases vm->lock.
 */
void vmisc_chardev_gone(struct vmisc *vm)
{
	struct vmisc_file *file;

	spin_lock_irq(&vm->lock);
	list_for_each_entry(file, &vm->files, node)
		WRITE_ONCE(file->gone, true);
	vmisc_chardev_wake(vm);
	spin_unlock_irq(&vm->lock);
}

/* Why there will be nothing more to read, or 0 */
static int vmisc_file_error(struct vmisc_file *file)
{
	return READ_ONCE(file->gone) ? -ENODEV : READ_ONCE(file->vm->error);
}

static int vmisc_open(struct inode *inode, struct file *filp)
{
	struct vmisc *vm = container_of(filp->private_data, struct vmisc, misc);
	struct vmisc_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;

	mutex_init(&file->read_lock);
	INIT_LIST_HEAD(&file->timers);
	INIT_LIST_HEAD(&file->expired);
	init_waitqueue_head(&file->wait);
	/* misc_deregister() waits for us: the driver still has its reference */
	kref_get(&vm->ref);
	file->vm = vm;
	filp->private_data = file;

	spin_lock_irq(&vm->lock);
	list_add_tail(&file->node, &vm->files);
	spin_unlock_irq(&vm->lock);

	return stream_open(inode, filp);
}

static int vmisc_release(struct inode *inode, struct file *filp)
{
	struct vmisc_file *file = filp->private_data;
	struct vmisc *vm = file->vm;
	struct vmisc_file_timer *ft;
	unsigned int steps = 0;

	spin_lock_irq(&vm->lock);
	list_del(&file->node);
	while ((ft = list_first_entry_or_null(&file->timers,
					      struct vmisc_file_timer, node))) {
		vmisc_file_drop(ft);
		vmisc_breathe(vm, &steps);
	}
	spin_unlock_irq(&vm->lock);

	vmisc_put(vm);
	kfree(file);

	return 0;
}

/**
 * vmisc_peek_event() - look at the oldest expiry that was not read
 * @file: open file
 * @event: where it goes
 * @first: nothing was read before by this call, so that it can give an error
 *
 * A timer that was lost is told of once, by the error.
 *
 * Context: Process context, file->read_lock held. Takes and releases vm->lock.
 * Return: timer with a reference; or -EAGAIN when there is none, why there
 * never will be one, or why one was lost.
 */
static struct vmisc_file_timer *
vmisc_peek_event(struct vmisc_file *file, struct virtio_misc_timer_event *event,
		 bool first)
{
	struct vmisc *vm = file->vm;
	struct vmisc_file_timer *ft;
	int err;

	memset(event, 0, sizeof(*event));

	spin_lock_irq(&vm->lock);
	ft = list_first_entry_or_null(&file->expired, struct vmisc_file_timer,
				      expired_node);
	if (!ft) {
		err = vmisc_file_error(file);
		ft = ERR_PTR(err ? err : -EAGAIN);
	} else if (!ft->expirations) {
		err = ft->error;
		if (first)
			vmisc_file_drop(ft);
		ft = ERR_PTR(err);
	} else {
		refcount_inc(&ft->timer.ref);
		event->cookie = ft->cookie;
		event->expirations = ft->expirations;
		event->time_ns = ktime_to_ns(ft->time);
		event->id = ft->timer.id;
	}
	spin_unlock_irq(&vm->lock);

	return ft;
}

/**
 * vmisc_take_event() - an expiry was read
 * @file: open file
 * @ft: timer, from vmisc_peek_event(); its reference is dropped
 * @event: what was read of it; not more, as it may have expired again since
 *
 * Context: Process context, file->read_lock held. Takes and releases vm->lock.
 */
static void vmisc_take_event(struct vmisc_file *file,
			     struct vmisc_file_timer *ft,
			     const struct virtio_misc_timer_event *event)
{
	struct vmisc *vm = file->vm;

	spin_lock_irq(&vm->lock);
	ft->expirations -= event->expirations;
	if (!ft->timer.interval_ns)
		vmisc_file_drop(ft);
	else if (ft->expirations || ft->error)
		list_move_tail(&ft->expired_node, &file->expired);
	else
		list_del_init(&ft->expired_node);
	vmisc_timer_put(&ft->timer);
	spin_unlock_irq(&vm->lock);
}

/**
 * vmisc_read_one() - read one event
 * @file: open file
 * @buf: where it goes
 * @first: nothing was read before by this call
 *
 * What can't be copied stays where it is.
 *
 * Context: Process context.
 * Return: 0 or negative errno, -EAGAIN when there is none.
 */
static int vmisc_read_one(struct vmisc_file *file, char __user *buf, bool first)
{
	struct virtio_misc_timer_event event;
	struct vmisc_file_timer *ft;
	int err = 0;

	if (mutex_lock_interruptible(&file->read_lock))
		return -ERESTARTSYS;

	ft = vmisc_peek_event(file, &event, first);
	if (IS_ERR(ft)) {
		err = PTR_ERR(ft);
	} else if (copy_to_user(buf, &event, sizeof(event))) {
		err = -EFAULT;
		vmisc_timer_put(&ft->timer);
	} else {
		vmisc_take_event(file, ft, &event);
	}

	mutex_unlock(&file->read_lock);

	return err;
}

static ssize_t vmisc_read(struct file *filp, char __user *buf, size_t count,
			  loff_t *ppos)
{
	struct vmisc_file *file = filp->private_data;
	size_t size = sizeof(struct virtio_misc_timer_event);
	size_t done = 0;
	int err;

	if (count < size)
		return -EINVAL;

	while (count - done >= size) {
		err = vmisc_read_one(file, buf + done, !done);
		if (err == -EAGAIN && !done && !(filp->f_flags & O_NONBLOCK)) {
			err = wait_event_freezable(file->wait,
						   !list_empty(&file->expired) ||
						   vmisc_file_error(file));
			if (err)
				return err;
			continue;
		}
		if (err)
			return done ? done : err;

		done += size;
	}

	return done;
}

static __poll_t vmisc_poll(struct file *filp, poll_table *wait)
{
	struct vmisc_file *file = filp->private_data;
	struct vmisc *vm = file->vm;
	__poll_t mask = 0;

	poll_wait(filp, &file->wait, wait);

	spin_lock_irq(&vm->lock);
	if (!list_empty(&file->expired))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (vmisc_file_error(file))
		mask |= EPOLLERR | EPOLLHUP;
	spin_unlock_irq(&vm->lock);

	return mask;
}

/**
 * vmisc_add_timer() - set a timer for an open file
 * @file: open file
 * @arg: what was asked for; gets the id
 *
 * Context: Process context. Sleeps until the device has answered.
 * Return: 0 or negative errno.
 */
static int vmisc_add_timer(struct vmisc_file *file,
			   struct virtio_misc_timer_set *arg)
{
	struct vmisc *vm = file->vm;
	struct vmisc_file_timer *ft;
	int err;

	ft = kzalloc(sizeof(*ft), GFP_KERNEL_ACCOUNT);
	if (!ft)
		return -ENOMEM;
	err = vmisc_timer_init(&ft->timer, vm, &vmisc_file_ops,
			       GFP_KERNEL_ACCOUNT);
	if (err) {
		kfree(ft);
		return err;
	}

	INIT_LIST_HEAD(&ft->expired_node);
	ft->file = file;
	ft->cookie = arg->cookie;

	spin_lock_irq(&vm->lock);
	err = vmisc_file_error(file);
	if (!err && file->num_timers >= vm->max_timers)
		err = -ENOSPC;
	if (err) {
		spin_unlock_irq(&vm->lock);
		vmisc_timer_put(&ft->timer);
		return err;
	}
	file->num_timers++;
	list_add_tail(&ft->node, &file->timers);
	/* One reference is the file's now, and this is ours */
	refcount_inc(&ft->timer.ref);
	spin_unlock_irq(&vm->lock);

	err = vmisc_timer_set_and_wait(&ft->timer, arg->delay_ns,
				       arg->interval_ns);
	/* It may have expired, been read and given up its id by now */
	arg->id = ft->timer.id;
	if (err) {
		spin_lock_irq(&vm->lock);
		if (!list_empty(&ft->node))
			vmisc_file_drop(ft);
		spin_unlock_irq(&vm->lock);
	}
	vmisc_timer_put(&ft->timer);

	return err;
}

/**
 * vmisc_cancel_timer() - cancel a timer of an open file
 * @file: open file
 * @id: timer
 *
 * Context: Process context.
 * Return: 0, -ENOENT when the file has no such timer, -ERESTARTSYS when there is
 * a signal, or why it has none.
 */
static int vmisc_cancel_timer(struct vmisc_file *file, u32 id)
{
	struct vmisc *vm = file->vm;
	struct vmisc_timer *timer;
	int err = -ENOENT;

	/* Not while it is being read: then it was, or it was not */
	if (mutex_lock_interruptible(&file->read_lock))
		return -ERESTARTSYS;

	spin_lock_irq(&vm->lock);
	timer = xa_load(&vm->timers, id);
	if (timer && !timer->closed && timer->ops == &vmisc_file_ops &&
	    to_file_timer(timer)->file == file) {
		vmisc_file_drop(to_file_timer(timer));
		err = 0;
	} else if (vmisc_file_error(file)) {
		err = vmisc_file_error(file);
	}
	spin_unlock_irq(&vm->lock);

	mutex_unlock(&file->read_lock);

	return err;
}

static long vmisc_ioctl_set(struct vmisc_file *file,
			    struct virtio_misc_timer_set __user *uarg)
{
	struct virtio_misc_timer_set arg;
	int err;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.flags)
		return -EINVAL;

	err = vmisc_add_timer(file, &arg);
	if (err)
		return err;

	if (put_user(arg.id, &uarg->id)) {
		vmisc_cancel_timer(file, arg.id);
		return -EFAULT;
	}

	return 0;
}

static long vmisc_ioctl_cancel(struct vmisc_file *file,
			       struct virtio_misc_timer_cancel __user *uarg)
{
	struct virtio_misc_timer_cancel arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved)
		return -EINVAL;

	return vmisc_cancel_timer(file, arg.id);
}

static long vmisc_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct vmisc_file *file = filp->private_data;

	switch (cmd) {
	case VIRTIO_MISC_IOC_SET_TIMER:
		return vmisc_ioctl_set(file, (void __user *)arg);
	case VIRTIO_MISC_IOC_CANCEL_TIMER:
		return vmisc_ioctl_cancel(file, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations vmisc_fops = {
	.owner = THIS_MODULE,
	.open = vmisc_open,
	.release = vmisc_release,
	.read = vmisc_read,
	.poll = vmisc_poll,
	.unlocked_ioctl = vmisc_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/**
 * vmisc_chardev_add() - make the character device
 * @vm: device data
 *
 * Context: Process context.
 * Return: 0 or negative errno.
 */
int vmisc_chardev_add(struct vmisc *vm)
{
	int err;

	vm->index = ida_alloc(&vmisc_ida, GFP_KERNEL);
	if (vm->index < 0)
		return vm->index;

	memset(&vm->misc, 0, sizeof(vm->misc));
	snprintf(vm->name, sizeof(vm->name), "virtio-timer%d", vm->index);
	vm->misc.minor = MISC_DYNAMIC_MINOR;
	vm->misc.name = vm->name;
	vm->misc.fops = &vmisc_fops;
	vm->misc.parent = &vm->vdev->dev;

	err = misc_register(&vm->misc);
	if (err)
		ida_free(&vmisc_ida, vm->index);

	return err;
}

/**
 * vmisc_chardev_del() - remove the character device
 * @vm: device data
 *
 * Files that are open stay so.
 *
 * Context: Process context.
 */
void vmisc_chardev_del(struct vmisc *vm)
{
	misc_deregister(&vm->misc);
	ida_free(&vmisc_ida, vm->index);
}
