// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_test driver
 *
 * Drives virtio-test (device id 45), the smallest device there is, in both of
 * its variants:
 *
 * echo: each byte written to /dev/virtio_misc becomes a request; the device
 * answers with its arguments, each increased by 100.
 *
 * events: each change of the configuration space that the device reports is
 * answered with a counter, which the device prints.
 */

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/ratelimit.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <uapi/linux/virtio_test.h>

#include "virtio_compat.h"

static bool quiet;
module_param(quiet, bool, 0644);
MODULE_PARM_DESC(quiet, "Do not print responses and events (default: N)");

/*
 * Every response is printed, as far as a person could have asked for it; a
 * program that writes as fast as it can must not bury the console.
 */
static DEFINE_RATELIMIT_STATE(print_limit, HZ, 100);

/* A signal ends the wait of a writer, and it does not keep us from suspending */
#define VIRTIO_TEST_WAIT (TASK_INTERRUPTIBLE | TASK_FREEZABLE)

/* When to try again what there was no memory for */
#define VIRTIO_TEST_RETRY msecs_to_jiffies(100)

/* Resets in a row that bring no answer, after which a device is given up */
#define VIRTIO_TEST_MAX_RESETS 8

static DEFINE_IDA(virtio_test_ida);

/**
 * struct virtio_test - one virtio-test device
 * @ref: held by the bound driver and by each open file
 * @vdev: virtio device; good only while @vq is
 * @lock: protects @vq, @error, @in_flight, and the virtqueue itself
 * @vq: queue 0, NULL while there is none (suspended, removed)
 * @error: why no request can be made now, 0 or negative errno
 * @in_flight: buffers in the virtqueue that still have somebody waiting
 * @room: woken when the virtqueue may have room, or is gone
 * @event_work: sends one counter for each of @events
 * @events: reported changes of the configuration that are not counted yet
 * @event: counter that found no room, used by @event_work alone as is @counter
 * @counter: last counter made
 * @reset_work: looks whether the device needs a reset, and resets it
 * @resets: resets since the device last answered, protected by @lock as are
 * @reset_at: jiffies of the last of them
 * @removing: the driver is being unbound
 * @misc: character device, variant echo only
 * @index: which of the character devices it is
 * @name: its name
 */
struct virtio_test {
	struct kref ref;
	struct virtio_device *vdev;
	spinlock_t lock; /* vq, error, in_flight, resets, reset_at, removing */
	struct virtqueue *vq;
	int error;
	struct list_head in_flight;
	wait_queue_head_t room;
	struct delayed_work event_work;
	atomic_t events;
	struct virtio_test_op *event;
	u32 counter;
	struct delayed_work reset_work;
	unsigned int resets;
	unsigned long reset_at;
	bool removing;
	struct miscdevice misc;
	int index;
	char name[24];
};

/**
 * struct virtio_test_dma - the memory that the device sees of a buffer
 * @req: variant echo, written by the driver
 * @counter: variant events, written by the driver
 * @resp: variant echo, written by the device: in a cache line of its own, so
 *	  that it does not share one with what the driver writes
 */
struct virtio_test_dma {
	union {
		struct virtio_test_request req;
		__le32 counter;
	};
	struct virtio_test_response resp ____cacheline_aligned;
};

/**
 * struct virtio_test_op - one buffer on its way through the virtqueue
 * @node: entry in &virtio_test.in_flight, or in a list of finished ones
 * @ref: held by the virtqueue and by whoever waits. A writer that is killed
 *	 does not take the buffer from under the device.
 * @dma: buffer, or NULL when there is none
 * @is_event: it carries a counter, nobody waits for it
 * @finished: @status is decided, @done is complete
 * @status: 0 or negative errno
 * @answer: copy of the response that the device can no longer change
 * @done: response is there, or will never come
 */
struct virtio_test_op {
	struct list_head node;
	refcount_t ref;
	struct virtio_test_dma *dma;
	bool is_event;
	bool finished;
	int status;
	struct virtio_test_response answer;
	struct completion done;
};

/**
 * struct virtio_test_file - an open /dev/virtio_misc
 * @vt: device
 * @lock: protects the members below
 * @answered: there is a response that nobody read
 * @answer: response to the last write
 */
struct virtio_test_file {
	struct virtio_test *vt;
	spinlock_t lock; /* answered, answer */
	bool answered;
	struct virtio_test_response answer;
};

static void virtio_test_free(struct kref *ref)
{
	kfree(container_of(ref, struct virtio_test, ref));
}

/**
 * virtio_test_op_new() - allocate a buffer for the virtqueue
 * @is_event: it will carry a counter
 *
 * Context: Process context.
 * Return: buffer with one reference, or NULL.
 */
static struct virtio_test_op *virtio_test_op_new(bool is_event)
{
	struct virtio_test_op *op;

	op = kzalloc(sizeof(*op), GFP_KERNEL);
	if (!op)
		return NULL;

	op->dma = kzalloc(sizeof(*op->dma), GFP_KERNEL);
	if (!op->dma) {
		kfree(op);
		return NULL;
	}

	op->is_event = is_event;
	INIT_LIST_HEAD(&op->node);
	refcount_set(&op->ref, 1);
	init_completion(&op->done);

	return op;
}

/**
 * virtio_test_op_put() - drop a reference to a buffer
 * @op: buffer
 *
 * Context: Any context.
 */
static void virtio_test_op_put(struct virtio_test_op *op)
{
	if (refcount_dec_and_test(&op->ref)) {
		kfree(op->dma);
		kfree(op);
	}
}

/**
 * virtio_test_op_finish() - tell the waiter what became of its request
 * @op: buffer
 * @status: 0 or negative errno
 *
 * Only the first call decides. The reference of the virtqueue stays as it is.
 *
 * Context: Any context. No two calls for the same buffer at once.
 */
static void virtio_test_op_finish(struct virtio_test_op *op, int status)
{
	if (op->finished)
		return;

	op->finished = true;
	op->status = status;
	complete(&op->done);
}

/**
 * virtio_test_fail_all() - no response will come any more
 * @vt: device data
 * @error: negative errno, given to all who wait and to all who come later
 *
 * The buffers stay in the virtqueue: until a reset the device may use them.
 *
 * Context: Any context. Takes and releases vt->lock.
 */
static void virtio_test_fail_all(struct virtio_test *vt, int error)
{
	struct virtio_test_op *op, *next;
	unsigned long flags;

	spin_lock_irqsave(&vt->lock, flags);
	vt->error = error;
	list_for_each_entry_safe(op, next, &vt->in_flight, node) {
		list_del_init(&op->node);
		virtio_test_op_finish(op, error);
	}
	spin_unlock_irqrestore(&vt->lock, flags);

	wake_up_all(&vt->room);
}

/**
 * virtio_test_submit() - put a buffer into the virtqueue
 * @vt: device data
 * @op: buffer, filled; the virtqueue takes a reference of its own
 *
 * Context: Any context. Takes and releases vt->lock.
 * Return: 0, -ENOSPC when there is no room now, or another negative errno.
 */
static int virtio_test_submit(struct virtio_test *vt, struct virtio_test_op *op)
{
	struct scatterlist out_sg, in_sg, *sgs[] = { &out_sg, &in_sg };
	unsigned long flags;
	int err;

	if (op->is_event) {
		sg_init_one(&out_sg, &op->dma->counter,
			    sizeof(op->dma->counter));
	} else {
		sg_init_one(&out_sg, &op->dma->req, sizeof(op->dma->req));
		sg_init_one(&in_sg, &op->dma->resp, sizeof(op->dma->resp));
	}

	spin_lock_irqsave(&vt->lock, flags);

	err = vt->error;
	if (!err)
		err = virtqueue_add_sgs(vt->vq, sgs, 1, op->is_event ? 0 : 1,
					op, GFP_ATOMIC);
	if (!err) {
		refcount_inc(&op->ref);
		list_add_tail(&op->node, &vt->in_flight);
		/* Under the lock, or the virtqueue could go meanwhile */
		virtqueue_kick(vt->vq);
	}

	spin_unlock_irqrestore(&vt->lock, flags);

	return err;
}

/**
 * virtio_test_take_answer() - check a used buffer and copy what is in it
 * @vt: device data
 * @op: buffer, no longer in the virtqueue
 * @len: bytes that the device says it has written
 *
 * Return: 0, or -EIO when that is not a response.
 */
static int virtio_test_take_answer(struct virtio_test *vt,
				   struct virtio_test_op *op, unsigned int len)
{
	/* Nothing is read back from a counter: any length will do */
	if (op->is_event)
		return 0;

	if (len != sizeof(op->dma->resp)) {
		dev_warn_ratelimited(&vt->vdev->dev,
				     "response of %u bytes instead of %zu\n",
				     len, sizeof(op->dma->resp));
		return -EIO;
	}

	op->answer = op->dma->resp;

	return 0;
}

static void print_response(const struct virtio_test_response *answer)
{
	pr_notice("virtio response ret is %d\n", le32_to_cpu(answer->ret));
	pr_notice("virtio response arg1 is %d\n", le32_to_cpu(answer->arg1));
	pr_notice("virtio response arg2 is %d\n", le32_to_cpu(answer->arg2));
}

/* At most once a second: a device that always needs a reset gets few of them */
static void virtio_test_check_later(struct virtio_test *vt)
{
	unsigned long flags, now = jiffies, next;

	spin_lock_irqsave(&vt->lock, flags);
	next = vt->resets ? vt->reset_at + HZ : now;
	if (!vt->removing)
		queue_delayed_work(system_freezable_wq, &vt->reset_work,
				   time_after(next, now) ? next - now : 0);
	spin_unlock_irqrestore(&vt->lock, flags);
}

static void virtio_test_send_events(struct virtio_test *vt, unsigned long delay)
{
	queue_delayed_work(system_freezable_wq, &vt->event_work, delay);
}

/**
 * test_request_done() - the device is done with buffers of queue 0
 * @vq: virtqueue
 *
 * Context: virtqueue callback, typically interrupt. Takes and releases vt->lock.
 */
static void test_request_done(struct virtqueue *vq)
{
	struct virtio_test *vt = vq->vdev->priv;
	struct virtio_test_op *op, *next;
	bool acked = false, show;
	unsigned long flags;
	unsigned int len;
	LIST_HEAD(used);

	spin_lock_irqsave(&vt->lock, flags);
	if (vt->vq != vq) {
		/* Late: virtio_test_stop() takes care of what is there */
		spin_unlock_irqrestore(&vt->lock, flags);
		return;
	}
	do {
		virtqueue_disable_cb(vq);
		while ((op = virtqueue_get_buf(vq, &len))) {
			int err = virtio_test_take_answer(vt, op, len);

			if (!err)
				vt->resets = 0;

			/* A writer may only go on when its lines are printed */
			if (!op->finished)
				op->status = err;
			list_move_tail(&op->node, &used);
		}
	} while (!virtqueue_enable_cb(vq));
	spin_unlock_irqrestore(&vt->lock, flags);

	list_for_each_entry_safe(op, next, &used, node) {
		show = !quiet && (op->is_event || __ratelimit(&print_limit));
		if (show && op->is_event) {
			pr_notice("virttest get ack\n");
		} else if (show) {
			/* Once for each interrupt, then the responses */
			if (!acked)
				pr_notice("virtio %s get ack\n", __func__);
			acked = true;
			if (!op->status)
				print_response(&op->answer);
		}

		list_del_init(&op->node);
		virtio_test_op_finish(op, op->status);
		virtio_test_op_put(op);
	}

	if (virtqueue_is_broken(vq)) {
		virtio_test_fail_all(vt, -EIO);
		virtio_test_check_later(vt);
	}

	wake_up(&vt->room);
	if (atomic_read(&vt->events))
		virtio_test_send_events(vt, 0);
}

/**
 * virtio_test_event_work() - answer each change of the configuration
 * @work: work of the device
 *
 * Context: Workqueue.
 */
static void virtio_test_event_work(struct work_struct *work)
{
	struct virtio_test *vt = container_of(to_delayed_work(work),
					      struct virtio_test, event_work);
	struct virtio_test_op *op;
	int err;

	while (atomic_read(&vt->events)) {
		op = vt->event;
		if (!op) {
			op = virtio_test_op_new(true);
			if (!op) {
				virtio_test_send_events(vt, VIRTIO_TEST_RETRY);
				return;
			}

			if (!quiet)
				pr_notice("virttest get config change\n");

			op->dma->counter = cpu_to_le32(++vt->counter);
			vt->event = op;
		}

		err = virtio_test_submit(vt, op);
		/* test_request_done() has us come back */
		if (err == -ENOSPC)
			return;

		atomic_dec(&vt->events);
		vt->event = NULL;
		virtio_test_op_put(op);
		if (err)
			return;
	}
}

#ifdef CONFIG_PM_SLEEP
/* As if the system was suspended and resumed, but for requests in flight */
static int virtio_test_reset(struct virtio_test *vt)
{
	int err = virtio_device_freeze(vt->vdev);

	return err ? err : virtio_device_restore(vt->vdev);
}
#else
static int virtio_test_reset(struct virtio_test *vt)
{
	return -EIO;
}
#endif

/**
 * virtio_test_reset_work() - reset the device if it needs that
 * @work: work of the device
 *
 * Context: Freezable workqueue: reading the status may sleep on some
 * transports.
 */
static void virtio_test_reset_work(struct work_struct *work)
{
	struct virtio_test *vt = container_of(to_delayed_work(work),
					      struct virtio_test, reset_work);
	struct virtio_device *vdev = vt->vdev;
	unsigned int resets;
	int err = -EIO;

	if (!vt->vq || !(vdev->config->get_status(vdev) &
			 VIRTIO_CONFIG_S_NEEDS_RESET ||
			 virtqueue_is_broken(vt->vq)))
		return;

	spin_lock_irq(&vt->lock);
	resets = vt->resets++;
	vt->reset_at = jiffies;
	spin_unlock_irq(&vt->lock);

	if (resets < VIRTIO_TEST_MAX_RESETS) {
		dev_warn(&vdev->dev, "device needs a reset\n");
		err = virtio_test_reset(vt);
	}
	if (err) {
		dev_err(&vdev->dev, "device is given up: %d\n", err);
		virtio_test_fail_all(vt, err);
	}
}

/**
 * virttest_changed() - the device reports a change of its configuration space
 * @vdev: virtio device
 *
 * Context: Interrupt, config_lock held.
 */
static void virttest_changed(struct virtio_device *vdev)
{
	struct virtio_test *vt = vdev->priv;

	virtio_test_check_later(vt);

	if (!virtio_has_feature(vdev, VIRTIO_TEST_F_EVENTS))
		return;

	if (!quiet)
		pr_notice("virttest %s\n", __func__);

	atomic_inc(&vt->events);
	virtio_test_send_events(vt, 0);
}

static int virtio_test_open(struct inode *inode, struct file *filp)
{
	struct virtio_test *vt = container_of(filp->private_data,
					      struct virtio_test, misc);
	struct virtio_test_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL);
	if (!file)
		return -ENOMEM;

	spin_lock_init(&file->lock);
	/* misc_deregister() waits for us: the driver still has its reference */
	kref_get(&vt->ref);
	file->vt = vt;
	filp->private_data = file;

	return stream_open(inode, filp);
}

static int virtio_test_release(struct inode *inode, struct file *filp)
{
	struct virtio_test_file *file = filp->private_data;

	kref_put(&file->vt->ref, virtio_test_free);
	kfree(file);

	return 0;
}

/**
 * virtio_test_fill_request() - make a request of the number that was written
 * @req: request, zeroed
 * @num: number; the arguments follow it and wrap at 256
 */
static void virtio_test_fill_request(struct virtio_test_request *req, u8 num)
{
	req->type = cpu_to_le32(num++);
	req->arg1 = cpu_to_le32(num++);
	req->arg2 = cpu_to_le32(num++);
	req->arg3 = cpu_to_le32(num);
	strscpy(req->arg4, "hello back end!", sizeof(req->arg4));
}

/**
 * virtio_test_write() - send one request and wait for its response
 * @filp: open file
 * @buf: number, one byte
 * @count: bytes in @buf; only the first one is taken
 * @ppos: not used
 *
 * Any number of processes may write at once, each has a request of its own.
 * With O_NONBLOCK the call does not wait for room in the virtqueue; it waits
 * for the response all the same, as a disk would.
 *
 * Context: Process context. Sleeps until the response is there.
 * Return: 1, or 0 when @count is 0; -EAGAIN, -EIO when the device gave no
 * valid response, -ENODEV when it is gone, or another negative errno.
 */
static ssize_t virtio_test_write(struct file *filp, const char __user *buf,
				 size_t count, loff_t *ppos)
{
	struct virtio_test_file *file = filp->private_data;
	struct virtio_test *vt = file->vt;
	struct virtio_test_op *op;
	int err, waited;
	u8 num;

	if (!count)
		return 0;
	if (get_user(num, (const u8 __user *)buf))
		return -EFAULT;

	op = virtio_test_op_new(false);
	if (!op)
		return -ENOMEM;
	virtio_test_fill_request(&op->dma->req, num);

	spin_lock(&file->lock);
	file->answered = false;
	spin_unlock(&file->lock);

	err = virtio_test_submit(vt, op);
	if (err == -ENOSPC) {
		if (filp->f_flags & O_NONBLOCK) {
			err = -EAGAIN;
			goto out;
		}
		waited = wait_event_state(vt->room,
					  (err = virtio_test_submit(vt, op)) != -ENOSPC,
					  VIRTIO_TEST_WAIT);
		if (waited && err == -ENOSPC)
			err = waited;
	}
	if (err)
		goto out;

	err = wait_for_completion_state(&op->done, VIRTIO_TEST_WAIT);
	if (err)
		goto out;

	err = op->status;
	if (err)
		goto out;

	spin_lock(&file->lock);
	file->answer = op->answer;
	file->answered = true;
	spin_unlock(&file->lock);

out:
	virtio_test_op_put(op);

	return err ? err : 1;
}

/**
 * virtio_test_read() - give the response to this file's last write, once
 * @filp: open file
 * @buf: where struct virtio_test_response goes
 * @count: size of @buf, at least that of the structure
 * @ppos: not used
 *
 * Return: size of the structure, 0 when there is no response (nothing was
 * written, or it was read before), or a negative errno.
 */
static ssize_t virtio_test_read(struct file *filp, char __user *buf,
				size_t count, loff_t *ppos)
{
	struct virtio_test_file *file = filp->private_data;
	struct virtio_test_response answer;
	bool answered;

	if (count < sizeof(answer))
		return -EINVAL;

	spin_lock(&file->lock);
	answer = file->answer;
	answered = file->answered;
	file->answered = false;
	spin_unlock(&file->lock);

	if (!answered)
		return 0;
	if (copy_to_user(buf, &answer, sizeof(answer)))
		return -EFAULT;

	return sizeof(answer);
}

static const struct file_operations virtio_test_fops = {
	.owner = THIS_MODULE,
	.open = virtio_test_open,
	.release = virtio_test_release,
	.write = virtio_test_write,
	.read = virtio_test_read,
};

/**
 * virtio_test_add_chardev() - make the character device
 * @vt: device data
 *
 * The first device is /dev/virtio_misc, further ones are /dev/virtio_misc1 ...
 *
 * Return: 0 or negative errno.
 */
static int virtio_test_add_chardev(struct virtio_test *vt)
{
	int err;

	vt->index = ida_alloc(&virtio_test_ida, GFP_KERNEL);
	if (vt->index < 0)
		return vt->index;

	if (vt->index)
		snprintf(vt->name, sizeof(vt->name), "virtio_misc%d",
			 vt->index);
	else
		strscpy(vt->name, "virtio_misc", sizeof(vt->name));

	vt->misc.minor = MISC_DYNAMIC_MINOR;
	vt->misc.name = vt->name;
	vt->misc.fops = &virtio_test_fops;
	vt->misc.parent = &vt->vdev->dev;

	err = misc_register(&vt->misc);
	if (err)
		ida_free(&virtio_test_ida, vt->index);

	return err;
}

static void virtio_test_del_chardev(struct virtio_test *vt)
{
	misc_deregister(&vt->misc);
	ida_free(&virtio_test_ida, vt->index);
}

/**
 * virtio_test_start() - set up the virtqueue and let the device go
 * @vt: device data
 *
 * Return: 0 or negative errno.
 */
static int virtio_test_start(struct virtio_test *vt)
{
	bool events = virtio_has_feature(vt->vdev, VIRTIO_TEST_F_EVENTS);
	struct virtqueue_info info[] = {
		{ events ? "print" : "virtio_test", test_request_done },
	};
	struct virtqueue *vq;
	int err;

	err = virtio_compat_find_vqs(vt->vdev, ARRAY_SIZE(info), &vq, info);
	if (err)
		return err;

	virtio_device_ready(vt->vdev);

	spin_lock_irq(&vt->lock);
	vt->vq = vq;
	vt->error = 0;
	spin_unlock_irq(&vt->lock);

	return 0;
}

/**
 * virtio_test_stop() - reset the device and take the virtqueue down
 * @vt: device data
 * @error: negative errno for requests in flight and for later ones
 */
static void virtio_test_stop(struct virtio_test *vt, int error)
{
	struct virtio_test_op *op;
	struct virtqueue *vq;

	virtio_test_fail_all(vt, error);

	/*
	 * An interrupt from before the reset can still come after it, when the
	 * device is another process: it must find no virtqueue.
	 */
	spin_lock_irq(&vt->lock);
	vq = vt->vq;
	vt->vq = NULL;
	spin_unlock_irq(&vt->lock);

	virtio_reset_device(vt->vdev);

	if (!vq)
		return;

	while ((op = virtqueue_detach_unused_buf(vq)))
		virtio_test_op_put(op);

	vt->vdev->config->del_vqs(vt->vdev);
}

static int virtio_test_validate(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "legacy devices are not supported\n");
		return -ENODEV;
	}

	/* Without it there is no queue 0, and so nothing to drive */
	if (!virtio_has_feature(vdev, VIRTIO_TEST_F_CAN_PRINT)) {
		dev_err(&vdev->dev, "device does not offer CAN_PRINT\n");
		return -ENODEV;
	}

	return 0;
}

static int virttest_probe(struct virtio_device *vdev)
{
	bool events = virtio_has_feature(vdev, VIRTIO_TEST_F_EVENTS);
	struct virtio_test *vt;
	int err;

	if (events)
		pr_notice("******create virttest\n");
	else
		pr_notice(">>>>>> %s function is called <<<<<<\n", __func__);

	vt = kzalloc(sizeof(*vt), GFP_KERNEL);
	if (!vt)
		return -ENOMEM;

	kref_init(&vt->ref);
	vt->vdev = vdev;
	spin_lock_init(&vt->lock);
	INIT_LIST_HEAD(&vt->in_flight);
	init_waitqueue_head(&vt->room);
	INIT_DELAYED_WORK(&vt->event_work, virtio_test_event_work);
	INIT_DELAYED_WORK(&vt->reset_work, virtio_test_reset_work);
	vdev->priv = vt;

	err = virtio_test_start(vt);
	if (err)
		goto err_put;

	if (!events) {
		err = virtio_test_add_chardev(vt);
		if (err) {
			pr_err("misc register is failed\n");
			goto err_stop;
		}
		pr_notice("misc register has succeeded\n");
	}

	dev_dbg(&vdev->dev, "variant %s\n", events ? "events" : "echo");

	return 0;

err_stop:
	virtio_test_stop(vt, -ENODEV);
err_put:
	vdev->priv = NULL;
	kref_put(&vt->ref, virtio_test_free);

	return err;
}

static void virtio_test_remove(struct virtio_device *vdev)
{
	struct virtio_test *vt = vdev->priv;

	if (!virtio_has_feature(vdev, VIRTIO_TEST_F_EVENTS))
		virtio_test_del_chardev(vt);

	spin_lock_irq(&vt->lock);
	vt->removing = true;
	spin_unlock_irq(&vt->lock);
	cancel_delayed_work_sync(&vt->reset_work);

	virtio_test_stop(vt, -ENODEV);
	cancel_delayed_work_sync(&vt->event_work);
	if (vt->event)
		virtio_test_op_put(vt->event);
	vdev->priv = NULL;
	kref_put(&vt->ref, virtio_test_free);
}

#ifdef CONFIG_PM_SLEEP
/*
 * User space and the freezable workqueue are frozen by now: nobody makes new
 * requests, and a request in flight is one that the device did not answer in
 * time.
 */
static int virtio_test_freeze(struct virtio_device *vdev)
{
	virtio_test_stop(vdev->priv, -EIO);

	return 0;
}

static int virtio_test_restore(struct virtio_device *vdev)
{
	struct virtio_test *vt = vdev->priv;
	int err;

	err = virtio_test_start(vt);
	if (err)
		virtio_test_fail_all(vt, err);
	else if (atomic_read(&vt->events))
		virtio_test_send_events(vt, 0);

	return err;
}
#endif

static const struct virtio_device_id virtio_test_ids[] = {
	{ VIRTIO_ID_TEST, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, virtio_test_ids);

static const unsigned int virtio_test_features[] = {
	VIRTIO_TEST_F_CAN_PRINT,
	VIRTIO_TEST_F_EVENTS,
};

static struct virtio_driver virtio_test_driver = {
	.feature_table = virtio_test_features,
	.feature_table_size = ARRAY_SIZE(virtio_test_features),
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = virtio_test_ids,
	.validate = virtio_test_validate,
	.probe = virttest_probe,
	.remove = virtio_test_remove,
	.config_changed = virttest_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = virtio_test_freeze,
	.restore = virtio_test_restore,
#endif
};
module_virtio_driver(virtio_test_driver);

MODULE_DESCRIPTION("Virtio test driver");
MODULE_LICENSE("GPL");
