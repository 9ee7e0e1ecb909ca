// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmisc_contexts_test - calls virtio_misc_set_timer() from each context that its
 * kernel-doc names
 *
 * Each timer has to be called, once. It is for lockdep to say whether that was
 * allowed. Loads only when all came.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include <linux/virtio_misc.h>

#define ROUNDS	20
#define LONG_MS	60000

static struct virtio_device *vdev;

struct context {
	const char *name;
	void (*run)(struct context *context);
	atomic_t calls;
	atomic_t refused;
};

static DEFINE_RAW_SPINLOCK(raw_lock);
static DEFINE_SPINLOCK(plain_lock);
static struct context *current_context;
static DECLARE_COMPLETION(through);

static void called(void *argument)
{
	struct context *context = argument;

	atomic_inc(&context->calls);
}

static void set(struct context *context)
{
	if (virtio_misc_set_timer(vdev, 1, called, context))
		atomic_inc(&context->refused);
}

static void from_process(struct context *context)
{
	set(context);
}

static void from_raw_lock(struct context *context)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&raw_lock, flags);
	set(context);
	raw_spin_unlock_irqrestore(&raw_lock, flags);
}

static void from_spin_lock(struct context *context)
{
	spin_lock(&plain_lock);
	set(context);
	spin_unlock(&plain_lock);
}

static void from_preempt_disabled(struct context *context)
{
	preempt_disable();
	set(context);
	preempt_enable();
}

static void from_rcu(struct context *context)
{
	rcu_read_lock();
	set(context);
	rcu_read_unlock();
}

static enum hrtimer_restart hrtimer_fired(struct hrtimer *timer)
{
	set(current_context);
	complete(&through);

	return HRTIMER_NORESTART;
}

static void run_hrtimer(struct context *context, enum hrtimer_mode mode)
{
	struct hrtimer timer;

	current_context = context;
	reinit_completion(&through);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init_on_stack(&timer, CLOCK_MONOTONIC, mode);
	timer.function = hrtimer_fired;
#else
	hrtimer_setup_on_stack(&timer, hrtimer_fired, CLOCK_MONOTONIC, mode);
#endif
	hrtimer_start(&timer, ms_to_ktime(1), mode);
	wait_for_completion(&through);
	hrtimer_cancel(&timer);
	destroy_hrtimer_on_stack(&timer);
}

static void from_hardirq(struct context *context)
{
	run_hrtimer(context, HRTIMER_MODE_REL_HARD);
}

static void from_soft_hrtimer(struct context *context)
{
	run_hrtimer(context, HRTIMER_MODE_REL_SOFT);
}

static void timer_fired(struct timer_list *timer)
{
	set(current_context);
	complete(&through);
}

static DEFINE_TIMER(softirq_timer, timer_fired);

static void from_softirq(struct context *context)
{
	current_context = context;
	reinit_completion(&through);
	mod_timer(&softirq_timer, jiffies + 1);
	wait_for_completion(&through);
}

static int thread_runs(void *argument)
{
	set(argument);
	complete(&through);

	return 0;
}

static void from_kthread(struct context *context)
{
	struct task_struct *thread;

	reinit_completion(&through);
	thread = kthread_run(thread_runs, context, "vmisc_contexts");
	if (!IS_ERR(thread))
		wait_for_completion(&through);
}

static void work_runs(struct work_struct *work)
{
	set(current_context);
}

static DECLARE_WORK(work, work_runs);

static void from_workqueue(struct context *context)
{
	current_context = context;
	schedule_work(&work);
	flush_work(&work);
}

static struct context contexts[] = {
	{ "process", from_process },
	{ "hardirq (hrtimer)", from_hardirq },
	{ "softirq (hrtimer)", from_soft_hrtimer },
	{ "softirq (timer)", from_softirq },
	{ "raw lock, interrupts off", from_raw_lock },
	{ "spin lock", from_spin_lock },
	{ "preemption off", from_preempt_disabled },
	{ "RCU", from_rcu },
	{ "kthread", from_kthread },
	{ "workqueue", from_workqueue },
};

static bool await(struct context *context)
{
	unsigned int ms;

	for (ms = 0; ms < LONG_MS && atomic_read(&context->calls) < ROUNDS;
	     ms += 20)
		msleep(20);
	msleep(50);

	return atomic_read(&context->calls) == ROUNDS &&
	       !atomic_read(&context->refused);
}

static int __init contexts_init(void)
{
	unsigned int i, round;
	int failed = 0;

	vdev = virtio_misc_get_device(0);
	if (!vdev)
		return -ENODEV;

	for (i = 0; i < ARRAY_SIZE(contexts); i++) {
		for (round = 0; round < ROUNDS; round++)
			contexts[i].run(&contexts[i]);
		if (await(&contexts[i])) {
			pr_notice("ok: %s\n", contexts[i].name);
		} else {
			pr_err("not ok: %s: %d calls, %d refused\n",
			       contexts[i].name,
			       atomic_read(&contexts[i].calls),
			       atomic_read(&contexts[i].refused));
			failed++;
		}
	}

	virtio_misc_cancel_callback(vdev, called);
	virtio_misc_put_device(vdev);

	return failed ? -EINVAL : 0;
}
module_init(contexts_init);

static void __exit contexts_exit(void)
{
}
module_exit(contexts_exit);

MODULE_DESCRIPTION("Contexts of virtio_misc_set_timer()");
MODULE_LICENSE("GPL");
