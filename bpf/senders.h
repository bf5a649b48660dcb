/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is kept of signals that end processes and of exits, and what the kernel's
 * numbers mean for that. The programs stand in hangup.c: BCC finds uses of maps in
 * the main file only.
 */
#ifndef HANGUP_SENDERS_H
#define HANGUP_SENDERS_H

#include "event.h"
#include "kernel.h"

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

#endif /* HANGUP_SENDERS_H */
