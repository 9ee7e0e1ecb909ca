/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio_misc internals
 *
 * The driver core (virtio_misc_driver.c) knows timers and the two virtqueues.
 * Timers have one of two kinds of owner: the exported functions
 * (virtio_misc_api.c), and open files (virtio_misc_chardev.c).
 */
#ifndef _VIRTIO_MISC_INTERNAL_H
#define _VIRTIO_MISC_INTERNAL_H

#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <uapi/linux/virtio_misc.h>

struct virtqueue;
struct virtio_device;
struct vmisc_call;

/* Notification buffers: more expiries than these wait in the device */
#define VMISC_NOTES	64

/* Most timers of one open file, whatever the device takes */
#define VMISC_MAX_FILE_TIMERS	65536

/* Killable, and a task that waits does not keep the system from suspending */
#define VMISC_WAIT	(TASK_KILLABLE | TASK_FREEZABLE)

/**
 * struct vmisc - one virtio-misc device
 * @ref: held by the bound driver, by each open file, and during each call
 * @node: entry in the list of bound devices
 * @vdev: virtio device; good while the driver is bound
 * @lock: protects all below but @wq, and all timers; taken in interrupts
 * @error: why no timer can be set now, 0 or negative errno
 * @up: the virtqueues may be added to
 * @controlq: virtqueue for requests, NULL while there is none
 * @notifyq: virtqueue for notifications, likewise
 * @backlog: timers whose request has not found room in @controlq yet
 * @notes: notification buffers that are not in @notifyq
 * @num_notes: how many
 * @timers: all timers whose id is in use, by id
 * @next_id: where to look for a free id first
 * @max_timers: most timers of one open file
 * @wq: runs @call_work
 * @call_work: runs the callbacks of @calls
 * @calls: expired timers whose callback has to be called, in order
 * @running: timer whose callback is being called
 * @runner: task that calls it
 * @call_done: woken when a callback has returned
 * @files: open files of @misc
 * @misc: character device
 * @index: which of the character devices it is
 * @name: its name
 */
struct vmisc {
	struct kref ref;
	struct list_head node;
	struct virtio_device *vdev;
	spinlock_t lock; /* see above */
	int error;
	bool up;
	struct virtqueue *controlq;
	struct virtqueue *notifyq;
	struct list_head backlog;
	struct virtio_misc_notification *notes[VMISC_NOTES];
	unsigned int num_notes;
	struct xarray timers;
	u32 next_id;
	u32 max_timers;
	struct workqueue_struct *wq;
	struct work_struct call_work;
	struct list_head calls;
	struct vmisc_call *running;
	struct task_struct *runner;
	wait_queue_head_t call_done;
	struct list_head files;
	struct miscdevice misc;
	int index;
	char name[32];
};

/**
 * struct vmisc_dma - the memory that the device sees of a request
 * @set: request, written by the driver
 * @set_ns: likewise
 * @cancel: likewise
 * @status: written by the device: in a cache line of its own, so that it does
 *	    not share one with what the driver writes
 */
struct vmisc_dma {
	union {
		struct virtio_misc_req_set_timer set;
		struct virtio_misc_req_set_timer_ns set_ns;
		struct virtio_misc_req_cancel_timer cancel;
	};
	__le32 status ____cacheline_aligned;
};

enum vmisc_request {
	VMISC_SET,
	VMISC_CANCEL,
};

/**
 * enum vmisc_request_state - where the request of a timer is
 * @VMISC_IDLE: there is none
 * @VMISC_QUEUED: in vm->backlog
 * @VMISC_SENT: in vm->controlq
 */
enum vmisc_request_state {
	VMISC_IDLE,
	VMISC_QUEUED,
	VMISC_SENT,
};

/**
 * struct vmisc_timer - one timer, first member of its owner's structure
 * @ref: held by vm->timers and by owners. Dropping the last one frees the
 *	 owner's structure.
 * @expired: tells the owner that the device notified of expiries. Called with
 *	     vm->lock held, in any context; not called once @closed.
 * @vm: device data
 * @id: request id on the wire
 * @interval_ns: time between expiries [ns], 0 if it expires once
 * @deadline: CLOCK_MONOTONIC of the next expiry, to set it again after a
 *	      suspend
 * @dma: request. There is one, so that cancelling needs no memory: a timer is
 *	 cancelled only after the device has answered that it is set.
 * @request_node: entry in vm->backlog
 * @request: what the request is
 * @state: where the request is. The timer stays in vm->timers until it is idle.
 * @listed: in vm->timers
 * @closed: the owner wants no more of it
 * @busy: the owner still uses it, in spite of @closed
 * @gone: the device does not know it any more, and will not notify of it: it
 *	  expired once, was cancelled, was refused, or was never sent
 * @uncancellable: the device refused to cancel it
 * @awaited: somebody waits for @answered
 * @status: answer to the request to set it, 0 or negative errno
 * @answered: @status is there
 *
 * An id is used again only when the timer is closed, gone and has no request on
 * its way. So whatever the device says of an id, it speaks of this timer.
 */
struct vmisc_timer {
	refcount_t ref;
	void (*expired)(struct vmisc_timer *timer, u64 expirations,
			ktime_t now);
	struct vmisc *vm;
	u32 id;
	u64 interval_ns;
	ktime_t deadline;
	struct vmisc_dma *dma;
	struct list_head request_node;
	enum vmisc_request request;
	enum vmisc_request_state state;
	bool listed;
	bool closed;
	bool busy;
	bool gone;
	bool uncancellable;
	bool awaited;
	int status;
	struct completion answered;
};

struct vmisc *vmisc_get(struct virtio_device *vdev);
struct vmisc *vmisc_get_index(unsigned int index);
void vmisc_put(struct vmisc *vm);

int vmisc_timer_init(struct vmisc_timer *timer, struct vmisc *vm,
		     void (*expired)(struct vmisc_timer *timer, u64 expirations,
				     ktime_t now),
		     gfp_t gfp);
void vmisc_timer_put(struct vmisc_timer *timer);
int vmisc_timer_set(struct vmisc_timer *timer, u64 delay_ns, u64 interval_ns);
int vmisc_timer_await(struct vmisc_timer *timer);
void vmisc_timer_settle(struct vmisc_timer *timer);
void vmisc_timer_close(struct vmisc_timer *timer);
void vmisc_send(struct vmisc *vm);

void vmisc_call_work(struct work_struct *work);
void vmisc_calls_drop(struct vmisc *vm);

int vmisc_chardev_add(struct vmisc *vm);
void vmisc_chardev_del(struct vmisc *vm);
void vmisc_chardev_wake(struct vmisc *vm);

#endif /* _VIRTIO_MISC_INTERNAL_H */
