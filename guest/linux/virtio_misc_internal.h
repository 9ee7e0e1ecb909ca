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
#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <uapi/linux/virtio_misc.h>

struct virtqueue;
struct virtio_device;
struct vmisc_ask;
struct vmisc_call;
struct vmisc_timer;

/* Notification buffers: more expiries than these wait in the device */
#define VMISC_NOTES	64

/* Most timers of one open file, whatever the device takes */
#define VMISC_MAX_FILE_TIMERS	65536

/* Timers that virtio_misc_set_timer() takes before the system gets to them */
#define VMISC_ASKS	1024

/* Timers to go through before interrupts, and others, have their turn */
#define VMISC_BATCH	64

/**
 * struct vmisc_link - a place in the list of all timers
 * @node: entry
 * @timer: timer, NULL for somebody who goes through the list
 */
struct vmisc_link {
	struct list_head node;
	struct vmisc_timer *timer;
};

/**
 * struct vmisc_past - a virtio device that another has taken the place of
 * @node: entry in vm->past, which is read under RCU
 * @vdev: virtio device, with a reference: nobody else has its address
 */
struct vmisc_past {
	struct list_head node;
	struct virtio_device *vdev;
};

/**
 * struct vmisc - one virtio-misc device
 * @ref: held by the bound driver or while parked, by each open file, and during
 *	 each call
 * @node: entry in the list of all, which is read under RCU
 * @vdev: virtio device, with a reference
 * @past: those that it was before, by which it is found, too
 * @parked: there is no device, but timers that wait for the next one
 * @lock: protects all below up to @files, and all timers; taken in virtqueue
 *	  callbacks
 * @error: why no timer can be set now, 0 or negative errno
 * @up: the virtqueues may be added to
 * @removing: the driver is being unbound, or was
 * @waiting: timers that were asked for are kept for the next device
 * @features: those of VIRTIO_MISC_F_* that were negotiated, as bits
 * @epoch: changes with each reset: what was set before, the device has forgotten
 * @resets: resets since the device last did what it was asked for
 * @reset_at: jiffies of the last of them
 * @controlq: virtqueue for requests, NULL while there is none
 * @notifyq: virtqueue for notifications, likewise
 * @backlog: timers whose request has not found room in @controlq yet
 * @notes: notification buffers that are not in @notifyq
 * @num_notes: how many
 * @timers: all timers whose id is in use, by id
 * @next_id: where to look for a free id first
 * @all: the same timers, in the order in which they were set
 * @by_deadline: the same timers, the next to expire first
 * @waiters: those who wait for an answer
 * @calls: expired timers whose callback has to be called, in order
 * @running: timer whose callback is being called
 * @runner: task that calls it
 * @files: open files of @misc
 * @max_timers: most timers of one open file
 * @wq: runs @call_work
 * @call_work: runs the first callback of @calls
 * @call_done: woken when a callback has returned
 * @reset_work: looks whether the device needs a reset, and resets it
 * @ask_lock: protects @asks and @free_asks; innermost
 * @asks: timers that virtio_misc_set_timer() was asked for, in order. They leave
 *	  it under @lock, too.
 * @free_asks: the rest of @ask_pool
 * @ask_pool: memory of both
 * @ask_irq: sets what is in @asks, soon
 * @ask_work: the same, where that can't: many of them, or no memory
 * @misc: character device
 * @index: which of the character devices it is
 * @name: its name
 */
struct vmisc {
	struct kref ref;
	struct list_head node;
	struct virtio_device *vdev;
	struct list_head past;
	bool parked;
	spinlock_t lock; /* see above */
	int error;
	bool up;
	bool removing;
	bool waiting;
	u32 features;
	u32 epoch;
	unsigned int resets;
	unsigned long reset_at;
	struct virtqueue *controlq;
	struct virtqueue *notifyq;
	struct list_head backlog;
	struct virtio_misc_notification *notes[VMISC_NOTES];
	unsigned int num_notes;
	struct xarray timers;
	u32 next_id;
	struct list_head all;
	struct rb_root_cached by_deadline;
	struct list_head waiters;
	struct list_head calls;
	struct vmisc_call *running;
	struct task_struct *runner;
	struct list_head files;
	u32 max_timers;
	struct workqueue_struct *wq;
	struct work_struct call_work;
	wait_queue_head_t call_done;
	struct delayed_work reset_work;
	raw_spinlock_t ask_lock; /* asks, free_asks */
	struct list_head asks;
	struct list_head free_asks;
	struct vmisc_ask *ask_pool;
	struct irq_work ask_irq;
	struct delayed_work ask_work;
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
 * struct vmisc_owner_ops - what the owner of a timer is told
 * @stays: the timer waits for the next device when this one goes
 * @expired: the device notified of expiries. Not called once the timer is
 *	     closed.
 * @lost: the timer was set, and the device that was reset since does not take
 *	  it again. It is closed. NULL when the owner can't be told.
 *
 * All are called with vm->lock held, in any context.
 */
struct vmisc_owner_ops {
	bool stays;
	void (*expired)(struct vmisc_timer *timer, u64 expirations,
			ktime_t now);
	void (*lost)(struct vmisc_timer *timer, int err);
};

/**
 * struct vmisc_waiter - somebody who waits for the answer to a timer
 * @node: entry in vm->waiters
 * @timer: timer
 * @answered: woken when timer->status is there
 */
struct vmisc_waiter {
	struct list_head node;
	struct vmisc_timer *timer;
	wait_queue_head_t answered;
};

/**
 * struct vmisc_timer - one timer, first member of its owner's structure
 * @ref: held by vm->timers and by owners. Dropping the last one frees the
 *	 owner's structure.
 * @ops: of its owner
 * @vm: device data
 * @id: request id on the wire
 * @link: entry in vm->all
 * @order_node: entry in vm->by_deadline
 * @interval_ns: time between expiries [ns], 0 if it expires once
 * @delay_ns: time from @asked_at to the next expiry [ns]
 * @asked_at: CLOCK_MONOTONIC when that was said
 * @deadline: CLOCK_MONOTONIC of the next expiry, to set it again after a reset
 * @epoch: vm->epoch of the last request to set it
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
 * @waiter: who waits for @status, or NULL
 * @status: answer to the first request to set it, 0 or negative errno
 *
 * An id is used again only when the timer is closed, gone and has no request on
 * its way. So whatever the device says of an id, it speaks of this timer.
 */
struct vmisc_timer {
	refcount_t ref;
	const struct vmisc_owner_ops *ops;
	struct vmisc *vm;
	u32 id;
	struct vmisc_link link;
	struct rb_node order_node;
	u64 interval_ns;
	u64 delay_ns;
	ktime_t asked_at;
	ktime_t deadline;
	u32 epoch;
	struct vmisc_dma *dma;
	struct list_head request_node;
	enum vmisc_request request;
	enum vmisc_request_state state;
	bool listed;
	bool closed;
	bool busy;
	bool gone;
	bool uncancellable;
	struct vmisc_waiter *waiter;
	int status;
};

struct vmisc *vmisc_find(struct virtio_device *vdev);
struct vmisc *vmisc_get(struct virtio_device *vdev);
struct virtio_device *vmisc_get_index(unsigned int index);
void vmisc_put(struct vmisc *vm);

int vmisc_timer_init(struct vmisc_timer *timer, struct vmisc *vm,
		     const struct vmisc_owner_ops *ops, gfp_t gfp);
void vmisc_timer_put(struct vmisc_timer *timer);
int vmisc_timer_set(struct vmisc_timer *timer, u64 delay_ns, u64 interval_ns,
		    ktime_t asked_at);
int vmisc_timer_set_and_wait(struct vmisc_timer *timer, u64 delay_ns,
			     u64 interval_ns);
void vmisc_timer_settle(struct vmisc_timer *timer);
void vmisc_timer_close(struct vmisc_timer *timer);
void vmisc_send(struct vmisc *vm);
void vmisc_breathe(struct vmisc *vm, unsigned int *steps);

int vmisc_api_init(struct vmisc *vm);
void vmisc_api_drop_calls(struct vmisc *vm);
bool vmisc_api_pending(struct vmisc *vm);
void vmisc_api_exit(struct vmisc *vm);

int vmisc_chardev_add(struct vmisc *vm);
void vmisc_chardev_del(struct vmisc *vm);
void vmisc_chardev_wake(struct vmisc *vm);
void vmisc_chardev_gone(struct vmisc *vm);

#endif /* _VIRTIO_MISC_INTERNAL_H */
