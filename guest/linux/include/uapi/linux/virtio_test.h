/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_VIRTIO_TEST_H
#define _UAPI_LINUX_VIRTIO_TEST_H

#include <linux/types.h>

#ifndef VIRTIO_ID_TEST
#define VIRTIO_ID_TEST			45
#endif

/* Feature bits */

/* The device has queue 0 and prints what comes on it */
#define VIRTIO_TEST_F_CAN_PRINT		0
/* Variant `events`: the device changes its configuration, the driver counts */
#define VIRTIO_TEST_F_EVENTS		1

/* Configuration space */
struct virtio_test_config {
	__le32 num_pages;
	__le32 actual;
	__le32 event;
};

/* Variant `echo`: a request on queue 0, 48 bytes */
struct virtio_test_request {
	__le32 type;
	__le32 arg1;
	__le32 arg2;
	__le32 arg3;
	/* Text, ends with a zero byte */
	char arg4[32];
};

/*
 * Its response, 12 bytes.
 *
 * read() of /dev/virtio_misc gives this very structure, the response to the
 * last request of the same open file, once.
 */
struct virtio_test_response {
	/* arg1 of the request + 100 */
	__le32 ret;
	/* arg2 of the request + 100 */
	__le32 arg1;
	/* arg3 of the request + 100 */
	__le32 arg2;
};

#endif /* _UAPI_LINUX_VIRTIO_TEST_H */
