/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_VIRTIO_MISC_H
#define _UAPI_LINUX_VIRTIO_MISC_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifndef VIRTIO_ID_MISC
#define VIRTIO_ID_MISC			70
#endif

/* Feature bits */

/* CANCEL_TIMER */
#define VIRTIO_MISC_F_CANCEL		0
/* Timers with an interval */
#define VIRTIO_MISC_F_PERIODIC		1
/* SET_TIMER_NS */
#define VIRTIO_MISC_F_NSEC		2

/* Configuration space */
struct virtio_misc_config {
	/* Timers that can be armed, or expired and not notified, at a time */
	__le32 max_timers;
};

/*
 * Queue 0, controlq: a request, and after it a device-writable __le32 status.
 */

/* Types of request */
#define VIRTIO_MISC_SET_TIMER		1
#define VIRTIO_MISC_CANCEL_TIMER	2
#define VIRTIO_MISC_SET_TIMER_NS	3

struct virtio_misc_req_set_timer {
	__le32 type;
	__le32 delay_ms;
	__le32 request_id;
};

struct virtio_misc_req_cancel_timer {
	__le32 type;
	__le32 reserved;
	__le32 request_id;
};

struct virtio_misc_req_set_timer_ns {
	__le32 type;
	__le32 request_id;
	__le64 delay_ns;
	/* 0: expires once */
	__le64 interval_ns;
};

/* Status */
#define VIRTIO_MISC_S_OK		0
#define VIRTIO_MISC_S_UNSUPPORTED	1
#define VIRTIO_MISC_S_INVALID		2
#define VIRTIO_MISC_S_EXISTS		3
#define VIRTIO_MISC_S_NOT_FOUND		4
#define VIRTIO_MISC_S_NO_SPACE		5

/*
 * Queue 1, notifyq: buffers that the driver posts and the device fills.
 */

/* Types of notification */
#define VIRTIO_MISC_TIMER_EXPIRED	1

struct virtio_misc_notification {
	__le32 type;
	__le32 request_id;
	/* Since the last notification of this timer; not in a short buffer */
	__le64 expirations;
};

/*
 * The character device, /dev/virtio-timerN.
 *
 * Timers belong to the open file that set them and end with it. read() gives
 * whole struct virtio_misc_timer_event, in the order of expiry; it sleeps when
 * there is none (-EAGAIN with O_NONBLOCK). What it can't copy (-EFAULT) stays.
 * poll() tells when there is one. All calls give -ENODEV when the device is
 * gone. Whatever sleeps, a signal ends.
 *
 * After a suspend, and when the device had to be reset, timers are set again
 * with what was left of them. For each that the device then refuses, read()
 * fails once, with the reason as its error; the timer is no more (-ENOENT).
 */

/**
 * struct virtio_misc_timer_set - argument of VIRTIO_MISC_IOC_SET_TIMER
 * @delay_ns: time from now to the expiry [ns], at most 2^63 - 1. A device
 *	      without NSEC gets it in ms, rounded up.
 * @interval_ns: time between later expiries [ns], 0 or at least
 *		 VIRTIO_MISC_MIN_INTERVAL_NS; 0 for a timer that expires once
 * @cookie: returned with each expiry
 * @flags: 0
 * @id: the kernel stores the id of the timer here
 *
 * Returns 0 when the device has armed the timer. Errors: EINVAL; EOPNOTSUPP
 * when the device has no such timers; ENOSPC when it, or this file, has no
 * room for another; EINTR when there was a signal and ETIMEDOUT when the device
 * did not answer: then there is no such timer; ENODEV, EIO.
 */
struct virtio_misc_timer_set {
	__aligned_u64 delay_ns;
	__aligned_u64 interval_ns;
	__aligned_u64 cookie;
	__u32 flags;
	__u32 id;
};

/**
 * struct virtio_misc_timer_cancel - argument of VIRTIO_MISC_IOC_CANCEL_TIMER
 * @id: timer, set with the same open file
 * @reserved: 0
 *
 * Returns 0 when read() will give nothing more of this timer; an expiry that
 * was not read yet is dropped. ENOENT when there is no such timer, or when it
 * expired and was read.
 */
struct virtio_misc_timer_cancel {
	__u32 id;
	__u32 reserved;
};

/**
 * struct virtio_misc_timer_event - what read() gives
 * @cookie: from &struct virtio_misc_timer_set
 * @expirations: since this timer was last read; 1 if it expires once
 * @time_ns: CLOCK_MONOTONIC when the driver heard of the last one [ns]
 * @id: timer. If it expires once, the id is free for a new one after this.
 * @reserved: 0
 */
struct virtio_misc_timer_event {
	__aligned_u64 cookie;
	__aligned_u64 expirations;
	__aligned_u64 time_ns;
	__u32 id;
	__u32 reserved;
};

/* An interrupt each 100 us is as much as a guest should be asked for */
#define VIRTIO_MISC_MIN_INTERVAL_NS	100000

#define VIRTIO_MISC_IOC_SET_TIMER \
	_IOWR(0xBD, 0, struct virtio_misc_timer_set)
#define VIRTIO_MISC_IOC_CANCEL_TIMER \
	_IOW(0xBD, 1, struct virtio_misc_timer_cancel)

#endif /* _UAPI_LINUX_VIRTIO_MISC_H */
