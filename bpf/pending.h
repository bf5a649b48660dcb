/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that tasks have entered and not returned from yet: a program at the return
 * of a function does not see its arguments, unless it is a fexit program.
 */
#ifndef HANGUP_PENDING_H
#define HANGUP_PENDING_H

#include "losses.h"

#define PENDING_MAX 32768

struct pending {
	u64 start;              /* ns, 0: not known */
	u64 end;                /* ns, 0: now */
	u64 socket;             /* struct socket of this endpoint */
	u64 address;            /* connect: struct sockaddr */
	s64 size;
	u32 message_flags;
	u32 operation;
	u32 address_length;
	u32 unused;
};

/* By thread: these functions do not call each other. */
BPF_HASH(pending, u32, struct pending, PENDING_MAX);

/* A thread that is elsewhere now never returned from the function that it is said to be in: not that we saw. */
static __always_inline void count_left_behind(u32 tid)
{
	struct pending *left = pending.lookup(&tid);

	if (left) {
		count_since(LOSS_MISSED_RETURN, left->start);
		pending.delete(&tid);
	}
}

static __always_inline int enter(u32 operation, struct pending *entered)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pending *left;

	entered->operation = operation;
	entered->start = bpf_ktime_get_ns();
	if (!pending.insert(&tid, entered))
		return 0;
	/* finish() deletes, so what stands here already was never seen returning. */
	left = pending.lookup(&tid);
	if (left) {
		count_since(LOSS_MISSED_RETURN, left->start);
		pending.update(&tid, entered);
	} else {
		count(LOSS_PENDING_FULL);
	}
	return 0;
}

#endif /* HANGUP_PENDING_H */
