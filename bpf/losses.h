/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was not recorded is counted by cause, with the times in which it was lost.
 */
#ifndef HANGUP_LOSSES_H
#define HANGUP_LOSSES_H

#include "record.h"

/*
 * Mapped by the reader, not looked up: while bpf(2) looks a map up, which can be
 * preempted, the kernel runs no kprobe program on that cpu (bpf_disable_instrumentation()).
 */
BPF_F_TABLE("array", u32, u64, losses, LOSSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lost_periods, periods, LOSSES, BPF_F_MMAPABLE);

/* Losses that are further apart than this are of different periods. */
#define PERIOD_GAP_NS 10000000LL

/* Whether a period ended too long before a loss to be of the same storm. */
static __always_inline bool ended_long_before(struct lost_period *period, u64 since)
{
	return (s64)(since - period->until) > PERIOD_GAP_NS;
}

/*
 * Counts a loss of something that happened between since and now. The count is
 * exact. A period's bounds may miss what another cpu writes in the same instant:
 * the period it writes to is one that this loss is near to. Two cpus that begin a
 * period at once begin the same one: begun is read once, and never skips a slot.
 */
static __always_inline void count_since(u32 loss, u64 since)
{
	u64 *value = losses.lookup(&loss);
	struct lost_periods *kept = periods.lookup(&loss);
	u64 now = bpf_ktime_get_ns();
	struct lost_period *slot;
	u64 before, begun;

	if (!value || !kept)
		return;
	before = *value;
	__sync_fetch_and_add(value, 1);
	begun = *(volatile __u64 *)&kept->begun;
	slot = &kept->slots[(begun - 1) & (LOST_PERIODS - 1)];
	if (!begun || ended_long_before(slot, since)) {
		slot = &kept->slots[begun & (LOST_PERIODS - 1)];
		/* Or another cpu is about to say that it began this one. */
		if (ended_long_before(slot, since)) {
			if (!begun)
				kept->first = since;
			else if (slot->until)
				kept->overwritten = slot->until;
			slot->since = since;
			slot->until = now;
			slot->before = before;
			kept->begun = begun + 1;
			return;
		}
	}
	if (since < slot->since)
		slot->since = since;
	if (now > slot->until)
		slot->until = now;
}

static __always_inline void count(u32 loss)
{
	count_since(loss, bpf_ktime_get_ns());
}

#endif /* HANGUP_LOSSES_H */
