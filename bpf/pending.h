/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that tasks have entered and not returned from yet: a program at the return
 * of a function does not see its arguments, unless it is a fexit program, and no program
 * sees there when it was entered.
 */
#ifndef HANGUP_PENDING_H
#define HANGUP_PENDING_H

#include "kernel.h"
#include "losses.h"

/* A power of two. */
#define PENDING_PLACES 32768
#define PENDING_BESIDE 8192

struct pending {
	u64 start;              /* ns, 0: not known */
	u64 end;                /* ns, 0: now */
	u64 socket;             /* struct socket of this endpoint */
	u64 address;            /* connect: struct sockaddr */
	u64 message;            /* write: struct msghdr, 0: its flags are known */
	s64 size;
	u32 message_flags;
	u32 operation;
	u32 address_length;
	u32 tid;                /* the thread that is in there, 0: none */
	u32 claims;             /* how many threads have or want this place */
	u32 unused;
};

/*
 * By thread: these functions do not call each other. Each thread has a place of its own
 * as long as no other one that is in there has the same last digits: a look-up in an
 * array costs a tenth of inserting into a hash and deleting.
 */
BPF_ARRAY(pending, struct pending, PENDING_PLACES);
BPF_HASH(pending_beside, u32, struct pending, PENDING_BESIDE);

static __always_inline struct pending *pending_place(u32 tid)
{
	u32 place = tid & (PENDING_PLACES - 1);

	return pending.lookup(&place);
}

/* What a thread has entered; NULL: nothing that we saw. */
static __always_inline struct pending *find_pending(u32 tid)
{
	struct pending *found = pending_place(tid);

	if (found && found->tid != tid)
		found = pending_beside.lookup(&tid);
	return found;
}

static __always_inline void end_pending(struct pending *entered, u32 tid)
{
	if (!entered->claims) {
		pending_beside.delete(&tid);
		return;
	}
	entered->tid = 0;
	__sync_fetch_and_add(&entered->claims, -1);
}

/* A thread that is elsewhere now never returned from the function that it is said to be in: not that we saw. */
static __always_inline void count_left_behind(u32 tid)
{
	struct pending *left;

#ifdef PROBES_FENTRY
	if (!STREAMING)
		return;
#endif
	left = find_pending(tid);
	if (left) {
		count_since(LOSS_MISSED_RETURN, left->start);
		end_pending(left, tid);
	}
}

/* Where to put what is known of a function that is entered now; NULL: there is no room. */
static __always_inline struct pending *enter(u32 operation)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pending *entered = pending_place(tid);
	struct pending nothing = {};

	if (!entered)
		return NULL;
	if (entered->tid == tid) {
		/* finish() takes it away, so what stands here already was never seen returning. */
		count_since(LOSS_MISSED_RETURN, entered->start);
	} else {
		/* Of two that come at once at least one sees that it is not alone. */
		__sync_fetch_and_add(&entered->claims, 1);
		if (*(volatile u32 *)&entered->claims == 1) {
			entered->tid = tid;
		} else {
			__sync_fetch_and_add(&entered->claims, -1);
			entered = pending_beside.lookup(&tid);
			if (entered) {
				count_since(LOSS_MISSED_RETURN, entered->start);
			} else {
				pending_beside.update(&tid, &nothing);
				entered = pending_beside.lookup(&tid);
			}
			if (!entered) {
				count(LOSS_PENDING_FULL);
				return NULL;
			}
		}
	}
	entered->start = bpf_ktime_get_ns();
	entered->end = 0;
	entered->message = 0;
	entered->size = 0;
	entered->message_flags = 0;
	entered->operation = operation;
	return entered;
}

/* When the function was entered that a thread returns from, in ns; 0: not known. */
static __always_inline u64 began(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pending *entered = find_pending(tid);
	u64 start;

	if (!entered)
		return 0;
	start = entered->start;
	end_pending(entered, tid);
	return start;
}

#endif /* HANGUP_PENDING_H */
