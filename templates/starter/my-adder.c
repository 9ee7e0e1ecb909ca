// SPDX-License-Identifier: GPL-2.0-only
/*
 * my-adder: driver of a virtio device that adds
 *
 *   cd /sys/bus/virtio/drivers/my_adder/virtio0
 *   echo 2 3 > request
 *   cat response
 */

#include <linux/completion.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#define VIRTIO_ID_ADDER	60

struct adder_request {
	__le32 a;
	__le32 b;
};

struct adder_response {
	__le32 sum;
	__le32 uptime_ms;
};

/**
 * struct adder - one device
 * @vq: the queue of requests
 * @vq_lock: guards @vq
 * @lock: guards all below: one request at a time
 * @done: the device has answered
 * @waiting: the device has @request and @response
 * @len: bytes that the device has written
 * @answer: the last response
 * @request: for the device to read
 * @response: for the device to write
 */
struct adder {
	struct virtqueue *vq;
	spinlock_t vq_lock;
	struct mutex lock;
	struct completion done;
	bool waiting;
	unsigned int len;
	struct adder_response answer;

	struct adder_request request ____cacheline_aligned;
	struct adder_response response ____cacheline_aligned;
};

/* The device has used the buffer, or may have. In interrupt context. */
static void adder_used(struct virtqueue *vq)
{
	struct adder *adder = vq->vdev->priv;
	unsigned long flags;
	unsigned int len;

	spin_lock_irqsave(&adder->vq_lock, flags);
	while (virtqueue_get_buf(vq, &len)) {
		adder->len = len;
		complete(&adder->done);
	}
	spin_unlock_irqrestore(&adder->vq_lock, flags);
}

static int adder_send(struct adder *adder)
{
	struct scatterlist out, in, *sgs[] = { &out, &in };
	unsigned long flags;
	int err;

	sg_init_one(&out, &adder->request, sizeof(adder->request));
	sg_init_one(&in, &adder->response, sizeof(adder->response));

	spin_lock_irqsave(&adder->vq_lock, flags);
	err = virtqueue_add_sgs(adder->vq, sgs, 1, 1, adder, GFP_ATOMIC);
	if (!err) {
		adder->waiting = true;
		if (!virtqueue_kick(adder->vq))
			err = -EIO;
	}
	spin_unlock_irqrestore(&adder->vq_lock, flags);

	return err;
}

/* Waits until the device has given the buffers back, or a signal comes. */
static int adder_wait(struct adder *adder)
{
	int err;

	err = wait_for_completion_interruptible(&adder->done);
	if (!err)
		adder->waiting = false;

	return err;
}

static ssize_t request_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t count)
{
	struct adder *adder = dev_to_virtio(dev)->priv;
	u32 a, b;
	int err;

	if (sscanf(buf, "%u %u", &a, &b) != 2)
		return -EINVAL;

	err = mutex_lock_interruptible(&adder->lock);
	if (err)
		return err;

	/* A writer that was interrupted has left its request under way */
	if (adder->waiting) {
		err = adder_wait(adder);
		if (err)
			goto unlock;
	}

	adder->request.a = cpu_to_le32(a);
	adder->request.b = cpu_to_le32(b);
	err = adder_send(adder);
	if (!err)
		err = adder_wait(adder);
	if (!err && adder->len < sizeof(adder->response))
		err = -EIO;
	if (!err)
		adder->answer = adder->response;
unlock:
	mutex_unlock(&adder->lock);

	return err ? err : count;
}
static DEVICE_ATTR_WO(request);

static ssize_t response_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct adder *adder = dev_to_virtio(dev)->priv;
	struct adder_response answer;
	int err;

	err = mutex_lock_interruptible(&adder->lock);
	if (err)
		return err;
	answer = adder->answer;
	mutex_unlock(&adder->lock);

	return sysfs_emit(buf, "sum %u, up %u ms\n", le32_to_cpu(answer.sum),
			  le32_to_cpu(answer.uptime_ms));
}
static DEVICE_ATTR_RO(response);

static struct attribute *adder_attrs[] = {
	&dev_attr_request.attr,
	&dev_attr_response.attr,
	NULL
};
ATTRIBUTE_GROUPS(adder);

static int adder_probe(struct virtio_device *vdev)
{
	struct adder *adder;
	int err;

	adder = kzalloc(sizeof(*adder), GFP_KERNEL);
	if (!adder)
		return -ENOMEM;

	spin_lock_init(&adder->vq_lock);
	mutex_init(&adder->lock);
	init_completion(&adder->done);
	vdev->priv = adder;

	adder->vq = virtio_find_single_vq(vdev, adder_used, "requestq");
	if (IS_ERR(adder->vq)) {
		err = PTR_ERR(adder->vq);
		kfree(adder);
		return err;
	}

	virtio_device_ready(vdev);

	return 0;
}

/* The files are gone by now, and nobody is in request_store(). */
static void adder_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	kfree(vdev->priv);
}

static const struct virtio_device_id adder_ids[] = {
	{ VIRTIO_ID_ADDER, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, adder_ids);

static struct virtio_driver adder_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.driver.dev_groups = adder_groups,
	.id_table = adder_ids,
	.probe = adder_probe,
	.remove = adder_remove,
};
module_virtio_driver(adder_driver);

MODULE_DESCRIPTION("my-adder virtio driver");
MODULE_LICENSE("GPL");
