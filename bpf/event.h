/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The event record: what the probes write into the ring buffer, one record for
 * each finished operation.
 *
 * This header is the contract between the kernel side and everything above it.
 * tracer/record/layout.py reads it to unpack records, so it keeps to a plain form: one
 * field a line, fixed-width types, "largest first" so that the compiler adds no
 * padding, enumerators with their values spelled out.
 */
#ifndef HANGUP_EVENT_H
#define HANGUP_EVENT_H

/* A change of the record's meaning or layout; stands in every capture file. */
#define EVENT_VERSION 3

/* sizeof(struct sockaddr_un.sun_path), unix(7) */
#define ADDRESS_MAX 108

enum operation {
	OPERATION_CONNECT = 1,
	OPERATION_ACCEPT = 2,
	OPERATION_SOCKETPAIR = 3,
	OPERATION_READ = 4,
	OPERATION_WRITE = 5,
	OPERATION_SHUTDOWN = 6,
	OPERATION_RELEASE = 7,
};

enum event_flag {
	/* The task is exiting: exit_code says how (PF_EXITING, do_exit()). */
	EVENT_EXITING = 1,
	/* Released by its listener's release, never accepted (unix_release_sock()). */
	EVENT_EMBRYO = 2,
	/* The receive queue was longer than the walk: unread_bytes is a lower bound. */
	EVENT_UNREAD_AT_LEAST = 4,
	/* An io_uring worker or submission: the descriptor is not known. */
	EVENT_IO_URING = 8,
	/* A 32-bit system call: the number is of the 32-bit table. */
	EVENT_COMPAT = 16,
	/* The peer is dead: SOCK_DEAD, set by sock_orphan() in its release. */
	EVENT_PEER_DEAD = 32,
	/*
	 * This end has an address of its own (unix_sock.addr): it was bound, or its
	 * listener was, whose address an accepted socket shares. Known of releases, of
	 * shutdowns and of what failed: it costs two reads.
	 */
	EVENT_BOUND = 64,
	/* The other end has one; known of the same operations. */
	EVENT_PEER_BOUND = 128,
	/* The task is a kernel thread that works for others: a kworker, no io worker. */
	EVENT_KERNEL_THREAD = 256,
	/* What follows the record is a struct sender. */
	EVENT_SENDER = 512,
	/* The process owner_pid was seen exiting: exit_code is its. */
	EVENT_OWNER_EXITED = 1024,
};

/* What else is known of a signal: struct sender. */
enum sender_flag {
	/* The process had a handler for it: an exit that followed was its own. */
	SENDER_HANDLED = 1,
	/* The process had it blocked: it took effect later than it was sent. */
	SENDER_BLOCKED = 2,
	/* The OOM killer's victim: signal_struct.oom_mm is set. */
	SENDER_OOM = 4,
	/*
	 * The kernel itself sent it (SEND_SIG_PRIV, si_code above 0, SI_TIMER): a fault,
	 * a timer. Then pid and comm are only who happened to run.
	 */
	SENDER_KERNEL = 8,
};

/* Indexes of the "losses" map: what was not recorded, and why. */
enum loss {
	/* No room in the ring buffer: an operation is missing. */
	LOSS_RING_FULL = 0,
	/* No room to remember an entered function: an operation is missing. */
	LOSS_PENDING_FULL = 1,
	/* A function was entered and never seen returning (kretprobe slots). */
	LOSS_MISSED_RETURN = 2,
	/* No room in the table of sockets: a connection is missing. */
	LOSS_SOCKETS_FULL = 3,
	/*
	 * The kernel did not run a program, because the same one was preempted on
	 * that cpu: an operation is missing. It counts them itself (bpf_prog_info).
	 */
	LOSS_SKIPPED = 4,
};

#define LOSSES 5

/* How many periods of each loss are kept; a power of two. */
#define LOST_PERIODS 256

/* Losses of one cause of which none came long after the one before. */
struct lost_period {
	__u64 since;            /* ns, CLOCK_MONOTONIC */
	__u64 until;            /* ns, CLOCK_MONOTONIC, inclusive */
	__u64 before;           /* how many had been lost until it began */
};

/* The periods of one cause: the "periods" map has one of these for each. */
struct lost_periods {
	__u64 begun;            /* how many periods have begun; the newest is slots[(begun - 1) % LOST_PERIODS] */
	__u64 first;            /* ns: the first loss ever */
	__u64 overwritten;      /* ns: the last loss of the newest period whose slot was taken by a later one */
	struct lost_period slots[LOST_PERIODS];
};

struct event {
	__u64 start;            /* ns, CLOCK_MONOTONIC: the function was entered */
	__u64 end;              /* ns, CLOCK_MONOTONIC: it returned */
	__u64 sock;             /* this endpoint's struct sock */
	__u64 peer;             /* the other endpoint's struct sock, 0: none */
	__u64 inode;            /* this endpoint's struct inode, 0: none */
	__u64 peer_inode;       /* the other endpoint's struct inode, 0: none */
	__u64 inode_number;     /* this endpoint's i_ino, as ss and /proc show it */
	/*
	 * Bytes asked for; shutdown: SHUT_RD, _WR, _RDWR; release: this endpoint's
	 * sk_err, an errno that nobody has been told yet, 0: none.
	 */
	__s64 size;
	__s64 result;           /* bytes done, or -errno */
	__u64 unread_bytes;     /* release: still in this endpoint's queue */
	__u64 cgroup;           /* the task's cgroup of the unified hierarchy: its id */
	__u32 unread_messages;  /* sk_buffs in this endpoint's queue */
	__u32 pid;              /* thread group */
	__u32 tid;
	__u32 inner_pid;        /* as the task's own, innermost pid namespace has them */
	__u32 inner_tid;
	__u32 uid;
	__u32 gid;
	__u32 peer_pid;         /* SO_PEERCRED's pid: who called connect or listen */
	/*
	 * Release by a kernel thread: the process whose io_uring used this socket last,
	 * 0: not known.
	 */
	__u32 owner_pid;
	__u32 message_flags;    /* MSG_* of the call */
	__u32 exit_code;        /* with EVENT_EXITING, EVENT_OWNER_EXITED: as wait(2) has it */
	__s32 syscall;          /* number in the task's saved registers, -1: none */
	__s32 descriptor;       /* -1: not known */
	__u32 cpu;
	__u16 flags;            /* enum event_flag */
	__u16 address_length;   /* bytes that follow the record: an address or a struct sender */
	__u8 operation;         /* enum operation */
	__u8 type;              /* SOCK_STREAM 1, SOCK_SEQPACKET 5 */
	__u8 shutdown;          /* this endpoint's sk_shutdown: 1 receive, 2 send */
	__u8 peer_shutdown;     /* the other endpoint's sk_shutdown */
	char comm[16];          /* the task's name, not always terminated */
	char leader[16];        /* its thread group leader's, or with owner_pid the owner's */
};

/*
 * The record of a connect or an accept. The room is more than ADDRESS_MAX so that
 * a mask shows the verifier that a length stays inside.
 */
struct event_with_address {
	struct event event;
	char address[128];
};

/*
 * Who sent the signal that ended the process of a release, or that it handled not
 * long before it exited (signal_generate, __send_signal_locked()).
 */
struct sender {
	__u64 time;             /* ns, CLOCK_MONOTONIC */
	__u32 signal;
	__s32 code;             /* si_code */
	__u32 pid;              /* the sender's thread group */
	__u32 tid;
	__u32 uid;
	__u32 flags;            /* enum sender_flag */
	char comm[16];          /* the sender's thread group leader's name */
};

/* The record of a release. */
struct event_with_sender {
	struct event event;
	struct sender sender;
};

#endif /* HANGUP_EVENT_H */
