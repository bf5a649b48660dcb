/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records: what the probes write into the ring buffer and what stands in a
 * capture file. Each begins with a struct record and goes on with sections, each
 * behind a struct section; a reader may skip what it does not know.
 *
 * This header is the contract between the kernel side and everything above it.
 * tracer/record/layout.py reads it to unpack records, so it keeps to a plain form:
 * one field a line, fixed-width types, "largest first" so that the compiler adds no
 * padding, enumerators with their values spelled out.
 */
#ifndef HANGUP_RECORD_H
#define HANGUP_RECORD_H

/* A change of a record's meaning or layout; stands in every capture file. */
#define RECORD_VERSION 7

/* sizeof(struct sockaddr_un.sun_path), unix(7) */
#define ADDRESS_MAX 108

enum record_type {
	/* One operation: SECTION_OPERATION, then SECTION_ADDRESS, SECTION_SENDER or SECTION_PAYLOAD. */
	RECORD_OPERATION = 1,
	/* What was kept of a connection: SECTION_HISTORY of an end, of the other if that is known, SECTION_ADDRESS. */
	RECORD_HISTORY = 2,
	/*
	 * What follows is written by the live source, not by the probes, so that nobody
	 * behind it need ask this host. What is learnt of an operation stands before it.
	 *
	 * The host and its clocks: SECTION_HOST, SECTION_TEXT, SECTION_PIDS and SECTION_UIDS
	 * of those whose connections alone are told (none: all are). It is the first record;
	 * one more comes whenever the wall clock was set or the host had been suspended. The
	 * header's time is of the instant of the other clocks.
	 */
	RECORD_HOST = 3,
	/* A process when it was first seen, or has changed: SECTION_PROCESS, SECTION_TEXT; the time is of the look. */
	RECORD_PROCESS = 4,
	/* A socket older than the tracer, or one that listens: SECTION_SOCKET, SECTION_TEXT, SECTION_PIDS of its holders. */
	RECORD_SOCKET = 5,
	/* Connections that ended well since the row was told last: SECTION_COUNTED. */
	RECORD_COUNTS = 6,
	/* What was lost till now by one cause: SECTION_LOST, SECTION_PERIODS. It replaces what was told of that cause. */
	RECORD_LOST = 7,
	/*
	 * By the probes while they record: somebody has a connection who is in a cgroup that
	 * nobody was seen in before: SECTION_USER. The live source makes a PROCESS of it.
	 */
	RECORD_USER = 9,
	/*
	 * By the probes: a task has got other credentials, or has executed a program. It begins as an
	 * operation does, with SECTION_OPERATION, in which stands who that is from now on, by which call
	 * and on which cpu, and nothing else; then SECTION_IDENTITY, and of an execve SECTION_FILE.
	 * While the probes record only of who has a connection open.
	 */
	RECORD_IDENTITY = 10,
};

/* A record that says it is longer is none. */
#define RECORD_MAX 65536

enum section_type {
	SECTION_OPERATION = 1,
	SECTION_HISTORY = 2,
	/* A path, or behind a zero an abstract name: sun_path of unix(7). */
	SECTION_ADDRESS = 3,
	SECTION_SENDER = 4,
	SECTION_HOST = 5,
	SECTION_PROCESS = 6,
	SECTION_SOCKET = 7,
	SECTION_COUNTED = 8,
	SECTION_LOST = 9,
	/* Some struct lost_time, the oldest first. */
	SECTION_PERIODS = 10,
	/* A struct text and its characters. */
	SECTION_TEXT = 11,
	/* Some __u32, as of SECTION_UIDS. */
	SECTION_PIDS = 12,
	SECTION_USER = 13,
	SECTION_UIDS = 14,
	SECTION_IDENTITY = 15,
	/* Of an execve: the program's file, as it was asked for. */
	SECTION_FILE = 16,
	/*
	 * The first bytes that were read or written, at most as many as the host's snaplen; of a
	 * write that failed those that were to be written.
	 */
	SECTION_PAYLOAD = 17,
};

struct record {
	__u32 length;           /* bytes of all of it, this header included */
	__u16 type;             /* enum record_type */
	__u16 flags;            /* of an operation, and of an identity: enum event_flag */
	__u64 time;             /* ns, CLOCK_MONOTONIC: of an operation when it ended */
	__u64 connection;       /* the number the kernel side gave it, 0: none */
};

struct section {
	__u16 type;             /* enum section_type */
	__u16 length;           /* bytes that follow; the next one begins at a multiple of 8 */
	__u32 unused;
};

enum operation_type {
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
	/* A SECTION_SENDER follows. */
	EVENT_SENDER = 512,
	/* The process owner_pid was seen exiting: exit_code is its. */
	EVENT_OWNER_EXITED = 1024,
	/* Nothing but what a thread did after its connection had failed: no other record of this connection comes. */
	EVENT_AFTERMATH = 2048,
	/*
	 * Of a connect or an accept, while each operation is recorded: now both ends are known,
	 * and nobody has selected this connection. No more of it comes unless somebody uses it
	 * later on who is selected.
	 */
	EVENT_UNSELECTED = 4096,
	/*
	 * Of a release: the thread had not been seen using this endpoint before, or had another
	 * name or real user id then.
	 */
	EVENT_FIRST_USE = 8192,
	/*
	 * It ended in the instant in which the other end's operation had its connection handed
	 * over: it may stand in the history, too.
	 */
	EVENT_OVERTAKEN = 16384,
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
	/*
	 * The kernel did not run a program, because the same one was preempted on
	 * that cpu: an operation is missing. It counts them itself (bpf_prog_info).
	 */
	LOSS_SKIPPED = 3,
	/*
	 * No room for another endpoint's history: that of one which was open, and not
	 * used for longest among some, was given up.
	 */
	LOSS_HISTORY_GIVEN_UP = 4,
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

struct operation {
	__u64 start;            /* ns, CLOCK_MONOTONIC: the function was entered, or if that is not known returned */
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
	/*
	 * This and the two that follow stay together: by these 16 bytes the live source
	 * knows whether it has seen them before. By those up to owner_pid readers know who
	 * did the operation before: nothing stands among them that changes from one to the next.
	 */
	__u64 cgroup;           /* the task's cgroup of the unified hierarchy: its id */
	__u32 pid;              /* thread group */
	__u32 peer_pid;         /* SO_PEERCRED's pid: who called connect or listen; 0: a connect that failed */
	__u32 tid;
	__u32 inner_pid;        /* as the task's own, innermost pid namespace has them */
	__u32 inner_tid;
	__u32 uid;              /* the real user id: bpf_get_current_uid_gid(), kernel/bpf/helpers.c */
	__u32 gid;              /* the real group id */
	/*
	 * Release by a kernel thread: the process whose io_uring used this socket last,
	 * 0: not known.
	 */
	__u32 owner_pid;
	__u32 unread_messages;  /* sk_buffs in this endpoint's queue */
	__u32 message_flags;    /* MSG_* of the call */
	__u32 exit_code;        /* with EVENT_EXITING, EVENT_OWNER_EXITED: as wait(2) has it */
	__s32 syscall;          /* number in the task's saved registers, -1: none */
	__s32 descriptor;       /* -1: not known */
	__u32 cpu;
	__u8 operation;         /* enum operation_type */
	__u8 type;              /* SOCK_STREAM 1, SOCK_SEQPACKET 5 */
	__u8 shutdown;          /* this endpoint's sk_shutdown: 1 receive, 2 send */
	__u8 peer_shutdown;     /* the other endpoint's sk_shutdown */
	__u32 unused;
	char comm[16];          /* the task's name, not always terminated */
	char leader[16];        /* its thread group leader's, or with owner_pid the owner's */
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
	__u32 uid;              /* the real user id */
	__u32 flags;            /* enum sender_flag */
	char comm[16];          /* the sender's thread group leader's name */
};

/* Who used an endpoint: a task, as it was at its first operation on it, or as it was when it released it. */
struct user {
	__u64 cgroup;           /* as in struct operation, and so what follows */
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u32 inner_pid;
	__u32 inner_tid;
	char comm[16];
	char leader[16];
};

/* What a task may do (struct cred): ids as the initial user namespace has them. */
struct credentials {
	__u64 capabilities;     /* the effective ones, in its own user namespace: a bit for each, capabilities(7) */
	__u32 uid;
	__u32 euid;
	__u32 suid;
	__u32 fsuid;
	__u32 gid;
	__u32 egid;
	__u32 sgid;
	__u32 fsgid;
};

/* Who a task was, and who it is from now on. */
struct identity {
	struct credentials before; /* `struct credentials`, till then */
	struct credentials after; /* `struct credentials`, from now on */
	char comm[16];          /* its name before: execve gives it another one */
};

/* One operation, as far as it is kept. */
struct moment {
	__u64 end;              /* ns, CLOCK_MONOTONIC */
	__s32 result;           /* bytes done, or -errno */
	__u32 size;             /* as in struct operation, at most 2^32 - 1 */
	__u32 message_flags;
	__u8 operation;         /* enum operation_type */
	__u8 user;              /* the number of the user who did it, as in struct history */
	__u8 shutdown;          /* this endpoint's sk_shutdown then, of releases and shutdowns */
	__u8 unused;
};

/* Of its users the first one is kept, and the last ones after it. */
#define USERS 3

/* The number of a user of whom only that is known. */
#define USER_LOST 255

/* Of its operations so many are kept, from the first one on and up to the last; the second is a power of two. */
#define FIRST_MOMENTS 6
#define LAST_MOMENTS 16

enum history_state {
	/* It called connect, or is the first of a socketpair. */
	HISTORY_CLIENT = 1,
	/* It came out of accept, or would have. */
	HISTORY_SERVER = 2,
	HISTORY_PAIR = 4,
	/* Its connect, accept or socketpair was seen. */
	HISTORY_BEGUN = 8,
	/* Its connection was handed over: everything of it is recorded from then on. */
	HISTORY_HANDED_OVER = 16,
	HISTORY_RELEASED = 32,
	HISTORY_ENDED_SENDING = 64,
	HISTORY_ENDED_RECEIVING = 128,
	/* A selected process has used or opened an end of its connection; or nobody looks at it. */
	HISTORY_PID_SELECTED = 256,
	HISTORY_EXCLUDED = 512,
	/* It has had more users than are kept. */
	HISTORY_USERS_LOST = 1024,
	/* Somebody has used an end of its connection who has a name that is selected; or nobody knows who has. */
	HISTORY_NAMED = 2048,
	/* An end of it was hurt, and there was no room in the ring buffer to tell that. */
	HISTORY_UNTOLD = 4096,
	/* Its path is selected. */
	HISTORY_PATH_SELECTED = 8192,
	/* It has a path that is not, or one or a user that is ignored: nothing of it is told. */
	HISTORY_IGNORED = 16384,
	/* A user who is selected, or somebody in a cgroup that is, has used an end of its connection. */
	HISTORY_UID_SELECTED = 32768,
	HISTORY_CGROUP_SELECTED = 65536,
};

enum heard {
	/* It has read something since its last turn began. */
	HEARD_SINCE = 1,
	/* When that began, it had read of a write that had not ended. */
	HEARD_EARLY = 2,
};

/* What the kernel side keeps of an endpoint. */
struct history {
	__u64 sock;             /* its struct sock */
	__u64 key;              /* what it is found by: the address, less a number that is the same for all */
	__u64 peer;             /* the other endpoint's struct sock */
	__u64 connection;       /* the number of its connection */
	__u64 inode;            /* its struct inode, 0: none yet */
	__u64 inode_number;
	__u64 start;            /* ns, CLOCK_MONOTONIC: it was first seen */
	__u64 holder;           /* tgid and tid of who used it last */
	__u64 read_bytes;       /* taken out of its queue */
	__u64 written_bytes;
	__u64 turn_start;       /* ns: the first write of its last turn had ended */
	__u64 turn_bytes;       /* written in its last turn */
	__u64 last_use;         /* ns: its last operation had ended */
	__u64 last_write;       /* ns: its last write that sent something had ended */
	__u64 unread_bytes;     /* this and what follows up to sender: of its release, as in struct operation */
	__u32 unread_messages;
	__u32 exit_code;
	__u32 owner_pid;
	__s32 syscall;
	__s32 descriptor;
	__u32 error;            /* its sk_err, which nobody had been told */
	__u32 operations;       /* how many it has had */
	__u32 entered;          /* the same, counted so that operations at the same time count for all */
	__u32 reads;            /* how many of them read something, messages that were only looked at not included */
	__u32 writes;           /* how many sent something */
	__u32 turns;            /* how many turns it has had */
	__u32 opener_pid;       /* SO_PEERCRED's pid, as in struct operation: who opened the other end */
	__u32 state;            /* enum history_state, of this end: set by who uses it */
	__u32 decided;          /* enum history_state, of both ends: set at both by who uses either */
	__u32 unused;
	__u16 release_flags;    /* enum event_flag */
	__u8 type;              /* SOCK_STREAM 1, SOCK_SEQPACKET 5 */
	__u8 user;              /* which of the users used it last */
	__u8 users_kept;
	__u8 users_seen;        /* how many it has had, at most USER_LOST */
	__u8 transferred_by;    /* which of the users read or wrote last, or was the first */
	__u8 heard;             /* enum heard */
	__u8 numbers[3];        /* of each of the users: how many there had been before */
	__u8 number;            /* of who used it last */
	struct sender sender;
	struct user users[USERS];
	struct moment moments[22]; /* FIRST_MOMENTS, then LAST_MOMENTS in a ring */
};

/* In how many rows connections that ended well are counted; a power of two. The first one is for all there is no room for. */
#define COUNTED_ROWS 4096

/* Connections that ended well are counted by who was connected to whom. */
struct counted {
	__u64 ready;            /* ns, CLOCK_MONOTONIC: the first one had ended, 0: none has */
	__u64 connections;      /* that ended well, and are selected */
	__u64 operations;       /* of both ends */
	char client[16];        /* the name of the client's process */
	char server[16];
	char path[112];         /* sun_path, all zeros: none, or not known */
	__u8 path_length;
	__u8 latent;            /* 1: bytes were left unread, and nobody failed */
	__u8 pair;
	__u8 unused;
	__u32 unused2;
};

enum host_flag {
	/* The kernel keeps histories and tells of what went wrong; else of every operation. */
	HOST_RECORDING = 1,
};

/* The host's clocks in one instant; CLOCK_MONOTONIC is the record's time. */
struct host {
	__u64 boottime;         /* ns, CLOCK_BOOTTIME: it goes on while the host is suspended */
	__u64 wall;             /* ns since 1970, CLOCK_REALTIME */
	__u64 looked;           /* ns, CLOCK_MONOTONIC: when the clocks were last found as they were told before */
	__u32 flags;            /* enum host_flag */
	__u32 snaplen;          /* so many bytes of what is read or written are recorded, each time; 0: none */
};

enum process_flag {
	/* The unit is the container's own (docker-ID.scope) and says nothing more. */
	PROCESS_UNIT_IS_CONTAINER = 1,
};

struct process {
	__u64 cgroup;           /* as in struct operation; 0: not known */
	__u64 start;            /* ns, CLOCK_MONOTONIC: it began, rounded down; 0: not looked up */
	__u32 pid;
	__u32 inner_pid;        /* 0: not known */
	__u32 flags;            /* enum process_flag */
	__u32 unused;
};

enum socket_flag {
	/* An end of a connection that is older than the tracer: the client's, the server's, or one of a socketpair. */
	SOCKET_CLIENT = 1,
	SOCKET_SERVER = 2,
	SOCKET_PAIR = 4,
	/* One that listens: when tracing began, or of a failed connect's path, that ended at the record's time. */
	SOCKET_LISTENER = 8,
};

struct open_socket {
	__u64 inode_number;     /* 0: not looked up */
	__u64 peer_inode_number; /* the other end's, 0: none */
	__u32 waiting;          /* of a listener: connects that are not accepted yet */
	__u32 backlog;          /* of a listener: as listen(2) was given it, at most net.core.somaxconn */
	__u32 flags;            /* enum socket_flag */
	__u32 unused;
};

struct lost {
	__u64 total;            /* how many till now */
	__u32 cause;            /* enum loss */
	__u32 unused;
};

/* A time in which some were lost. */
struct lost_time {
	__u64 since;            /* ns, CLOCK_MONOTONIC */
	__u64 until;            /* ns, CLOCK_MONOTONIC, inclusive */
	__u64 count;
};

/* What a text is. All are UTF-8 that can be printed and seen, as tracer/escape.py spells it. */
enum text_kind {
	/* Of a host: its kernel's release, the boot's id, hangup's version, how the probes are attached, one function each. */
	TEXT_KERNEL = 1,
	TEXT_BOOT = 2,
	TEXT_VERSION = 3,
	TEXT_PROBES = 4,
	TEXT_FUNCTION = 5,
	/*
	 * Of a process: its thread group leader's name, its cgroup's path, and what that names.
	 * Of a host the path of each cgroup whose connections alone are told, and those below it.
	 */
	TEXT_COMM = 6,
	TEXT_CGROUP = 7,
	TEXT_UNIT = 8,
	TEXT_CONTAINER = 9,
	TEXT_RUNTIME = 10,
	/* Of a socket: of a connection its listener's path, an abstract name as @name. */
	TEXT_PATH = 11,
};

struct text {
	__u32 kind;             /* enum text_kind */
	__u32 unused;
};

#endif /* HANGUP_RECORD_H */
