/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who sent the signal that a process ended by, and how processes ended that used
 * io_uring: two raw tracepoints, and what is kept of them.
 */
#ifndef HANGUP_SENDERS_H
#define HANGUP_SENDERS_H

#include "record.h"
#include "kernel.h"
#include "pending.h"

/* include/linux/sched/signal.h: no addresses. The sender said nothing; the kernel sends. */
#define SEND_SIG_NOINFO 0
#define SEND_SIG_PRIV 1
/* include/trace/events/signal.h */
#define TRACE_SIGNAL_DELIVERED 0
/* include/uapi/asm-generic/siginfo.h */
#define SI_KERNEL 0x80
#define SI_TIMER (-2)
/* include/uapi/asm-generic/signal-defs.h */
#define SIG_DFL 0
/* include/linux/sched/signal.h */
#define SIGNAL_GROUP_EXIT 4

/* arch/x86/include/uapi/asm/signal.h */
#define SIGKILL 9
#define SIGNAL_BIT(n) (1ULL << ((n) - 1))
/* SIG_KERNEL_IGNORE_MASK and SIG_KERNEL_STOP_MASK: CHLD, CONT, WINCH, URG; STOP, TSTP, TTIN, TTOU */
#define NEVER_FATAL                                                                           \
	(SIGNAL_BIT(17) | SIGNAL_BIT(18) | SIGNAL_BIT(28) | SIGNAL_BIT(23) | SIGNAL_BIT(19) | \
	 SIGNAL_BIT(20) | SIGNAL_BIT(21) | SIGNAL_BIT(22))
/* HUP, INT, QUIT, ABRT, TERM: by which one asks a process to end that has a handler for it. */
#define ASKS_TO_END (SIGNAL_BIT(1) | SIGNAL_BIT(2) | SIGNAL_BIT(3) | SIGNAL_BIT(6) | SIGNAL_BIT(15))

/* An exit that comes later is not put down to a signal that did not end the process by itself. */
#define ASKED_BEFORE_NS 90000000000ULL

#define SENDERS_MAX 4096
#define EXITS_MAX 4096

/* The last signal to a thread group that would end it, or asks it to. */
struct kept_sender {
	struct sender sender;
	u64 leader_start;       /* task_struct.start_time: the pid was not reused */
};

/* How a process ended that used io_uring. */
struct exited {
	u64 time;
	u32 exit_code;
	u32 with_sender;
	struct sender sender;
};

/* By thread group. Nobody deletes what is of dead processes: the oldest go. */
BPF_TABLE("lru_hash", u32, struct kept_sender, senders, SENDERS_MAX);
BPF_TABLE("lru_hash", u32, struct exited, exits, EXITS_MAX);

static __always_inline u64 leader_start(u64 task)
{
	return read_u64(read_u64(task + OFFSET(task_struct, group_leader)) + OFFSET(task_struct, start_time));
}

/*
 * signal_generate: (int sig, struct kernel_siginfo *, struct task_struct *, int group, int result).
 * It is called with the target's siglock held (__send_signal_locked()), so the entry
 * stands before the target can take the signal.
 */
int signal_generated(unsigned long long *ctx)
{
	u32 signal = ctx[0];
	u64 info = ctx[1];
	u64 task = ctx[2];
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct kept_sender kept = {};
	struct kept_sender *found;
	u64 handler, blocked, of_group;
	u32 group;

	/* First what costs nothing: most signals end nobody. */
	if (!signal || signal > 64 || (SIGNAL_BIT(signal) & NEVER_FATAL) || (s32)ctx[4] != TRACE_SIGNAL_DELIVERED)
		return 0;
	handler = read_u64(read_u64(task + OFFSET(task_struct, sighand)) + OFFSET(sighand_struct, action) +
			   (signal - 1) * SIZE(k_sigaction));
	if (signal != SIGKILL && handler != SIG_DFL) {
		if (signal >= 32 || !(SIGNAL_BIT(signal) & ASKS_TO_END))
			return 0;
		kept.sender.flags |= SENDER_HANDLED;
	}
	/* While sigwait(3) waits for it, only real_blocked has it (do_sigtimedwait()). */
	blocked = read_u64(task + OFFSET(task_struct, blocked)) | read_u64(task + OFFSET(task_struct, real_blocked));
	if (signal != SIGKILL && blocked & SIGNAL_BIT(signal))
		kept.sender.flags |= SENDER_BLOCKED;

	if (info == SEND_SIG_PRIV)
		kept.sender.code = SI_KERNEL;
	else if (info != SEND_SIG_NOINFO)
		kept.sender.code = read_u32(info + OFFSET(kernel_siginfo, si_code));
	if (kept.sender.code > 0 || kept.sender.code == SI_TIMER)
		kept.sender.flags |= SENDER_KERNEL;
	group = read_u32(task + OFFSET(task_struct, tgid));
	kept.leader_start = leader_start(task);
	kept.sender.time = bpf_ktime_get_ns();
	kept.sender.signal = signal;
	/* si_pid is what the receiver sees, and forgeable (rt_sigqueueinfo(2)): current is not. */
	kept.sender.pid = pid_tgid >> 32;
	kept.sender.tid = pid_tgid;
	kept.sender.uid = bpf_get_current_uid_gid();

	found = senders.lookup(&group);
	if (found && found->leader_start != kept.leader_start)
		found = NULL;
	/*
	 * Who is dying already is not killed again: 5.10 tells of signals to such a group
	 * as if they were delivered. complete_signal() has set the exit code for this very
	 * signal by now, unless it dumps core.
	 */
	of_group = read_u64(task + OFFSET(task_struct, signal));
	if (read_u32(of_group + OFFSET(signal_struct, flags)) & SIGNAL_GROUP_EXIT) {
		if ((read_u32(of_group + OFFSET(signal_struct, group_exit_code)) & 0x7f) != signal)
			return 0;
		if (found && found->sender.signal == signal && !(found->sender.flags & SENDER_HANDLED))
			return 0;
	}
	/*
	 * Who handles a signal by sending it to itself with the default action, as Python
	 * does with SIGINT, is not the one that wanted it.
	 */
	if (found && kept.sender.pid == group && found->sender.signal == signal &&
	    found->sender.flags & SENDER_HANDLED && kept.sender.time - found->sender.time < ASKED_BEFORE_NS)
		return 0;
	if (kept.sender.pid == kept.sender.tid)
		bpf_get_current_comm(kept.sender.comm, sizeof(kept.sender.comm));
	else
		read_leader_comm(kept.sender.comm, bpf_get_current_task());
	senders.update(&group, &kept);
	return 0;
}

/*
 * Finds the sender for a task that exits with this status; false: none. When a
 * signal ended it, it must be that one; if it ended by itself, one that it handled
 * (also by signalfd(2), for which it blocks it) not long ago.
 */
static __always_inline bool find_sender(struct sender *sender, u64 task, u32 group, u32 exit_code)
{
	struct kept_sender *found = senders.lookup(&group);
	bool asked;

	if (!found || found->leader_start != leader_start(task))
		return false;
	asked = found->sender.flags & (SENDER_HANDLED | SENDER_BLOCKED) &&
		bpf_ktime_get_ns() - found->sender.time < ASKED_BEFORE_NS;
	if (!asked && (exit_code & 0x7f) != found->sender.signal)
		return false;
	*sender = found->sender;
	/* mark_oom_victim() sets it after the signal. */
	if (read_u64(read_u64(task + OFFSET(task_struct, signal)) + OFFSET(signal_struct, oom_mm)))
		sender->flags |= SENDER_OOM;
	return true;
}

/*
 * sched_process_exit: (struct task_struct *, ...), called by do_exit() before it closes
 * the files. Of a group with io_uring any thread with one tells how it went, once
 * the group's last thread exits or the whole group does.
 */
int process_exited(unsigned long long *ctx)
{
	/* Else it would stay for good, or until another thread has its number and is taken for it. */
	count_left_behind(bpf_get_current_pid_tgid());
#if HAS_MEMBER(task_struct, io_uring)
	u64 task = ctx[0];
	u32 group = bpf_get_current_pid_tgid() >> 32;
	struct exited exited = {};
	u64 of_group;

	if (!read_u64(task + OFFSET(task_struct, io_uring)))
		return 0;
	of_group = read_u64(task + OFFSET(task_struct, signal));
	if (read_u32(of_group + OFFSET(signal_struct, live)) &&
	    !(read_u32(of_group + OFFSET(signal_struct, flags)) & SIGNAL_GROUP_EXIT))
		return 0;
	exited.time = bpf_ktime_get_ns();
	exited.exit_code = read_u32(task + OFFSET(task_struct, exit_code));
	exited.with_sender = find_sender(&exited.sender, task, group, exited.exit_code);
	exits.update(&group, &exited);
#endif
	return 0;
}

#endif /* HANGUP_SENDERS_H */
