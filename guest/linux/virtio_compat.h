/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that these modules build for (6.1 and
 * later), in one place.
 */
#ifndef _VIRTIO_COMPAT_H
#define _VIRTIO_COMPAT_H

#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)

/* Before 6.11, virtio_find_vqs() took names and callbacks as two arrays */
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
};

#define VIRTIO_COMPAT_MAX_VQS	2

static inline int virtio_compat_find_vqs(struct virtio_device *vdev,
					 unsigned int nvqs,
					 struct virtqueue *vqs[],
					 struct virtqueue_info vqs_info[])
{
	vq_callback_t *callbacks[VIRTIO_COMPAT_MAX_VQS];
	const char *names[VIRTIO_COMPAT_MAX_VQS];
	unsigned int i;

	if (WARN_ON(nvqs > VIRTIO_COMPAT_MAX_VQS))
		return -EINVAL;

	for (i = 0; i < nvqs; i++) {
		callbacks[i] = vqs_info[i].callback;
		names[i] = vqs_info[i].name;
	}

	return virtio_find_vqs(vdev, nvqs, vqs, callbacks, names, NULL);
}

#else

static inline int virtio_compat_find_vqs(struct virtio_device *vdev,
					 unsigned int nvqs,
					 struct virtqueue *vqs[],
					 struct virtqueue_info vqs_info[])
{
	return virtio_find_vqs(vdev, nvqs, vqs, vqs_info, NULL);
}

#endif

#endif /* _VIRTIO_COMPAT_H */
