// SPDX-License-Identifier: GPL-2.0-only
/*
 * Probes on the AF_UNIX implementation (net/unix/af_unix.c): each finished
 * connect, accept, socketpair, read, write, shutdown and release of a
 * SOCK_STREAM or SOCK_SEQPACKET endpoint becomes one record in the ring buffer.
 *
 * The proto_ops functions are probed, not the system calls, so that io_uring,
 * sendfile and splice are seen too and a host's other traffic costs nothing.
 *
 * The loader defines SELECT_PIDS, RING_PAGES, WAKE_RECORDS and PROBES_FENTRY, and what
 * kernel.h describes.
 */
#include <uapi/linux/ptrace.h>

#include "event.h"
#include "kernel.h"
#include "probes.h"
#include "senders.h"

/*
 * How many sk_buffs of a queue are summed, see fill_unread_bytes(). Messages of
 * one byte fill a send buffer of the default size (net.core.wmem_default) with
 * 277; the verifier's time grows with the square.
 */
#define UNREAD_WALK 320

#define PENDING_MAX 32768
#define SOCKETS_MAX 65536
#define OWNERS_MAX 4096

/* What a socket is to us; values of the "sockets" map. */
#define SOCKET_SELECTED 1
#define SOCKET_EXCLUDED 2

/* Which process used a socket by io_uring last. */
struct owner {
	u64 time;
	u64 inode_number;       /* of the socket: its address was not given to another one */
	u32 pid;
	u32 unused;
	char leader[16];
};

/* A function that a task has entered and not returned from yet. */
struct pending {
	u64 start;
	u64 socket;             /* struct socket of this endpoint */
	u64 address;            /* connect: struct sockaddr */
	s64 size;
	u32 message_flags;
	u32 operation;
	u32 address_length;
	u32 unused;
};

/* include/uapi/asm-generic/errno.h */
#define EAGAIN 11
#define EINVAL 22
#define EPIPE 32
#define ECONNRESET 104
#define ECONNREFUSED 111

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
/*
 * Mapped by the reader, not looked up: while bpf(2) looks a map up, which can be
 * preempted, the kernel runs no kprobe program on that cpu (bpf_disable_instrumentation()).
 */
BPF_F_TABLE("array", u32, u64, losses, LOSSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lost_periods, periods, LOSSES, BPF_F_MMAPABLE);
BPF_PERCPU_ARRAY(recorded, u64, 1);
/* By thread: these functions do not call each other. */
BPF_HASH(pending, u32, struct pending, PENDING_MAX);
BPF_HASH(sockets, u64, u32, SOCKETS_MAX);
/* By socket. Nobody deletes them: the oldest go. */
BPF_TABLE("lru_hash", u64, struct owner, owners, OWNERS_MAX);
/* By thread group. Nobody deletes what is of dead processes: the oldest go. */
BPF_TABLE("lru_hash", u32, struct kept_sender, senders, SENDERS_MAX);
BPF_TABLE("lru_hash", u32, struct exited, exits, EXITS_MAX);
/* The loader makes it as large as it has to be. */
BPF_HASH(selected_pids, u32, u8, 1);

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

/* A thread that is elsewhere now never returned from the function that it is said to be in: not that we saw. */
static __always_inline void count_left_behind(u32 tid)
{
	struct pending *left = pending.lookup(&tid);

	if (left) {
		count_since(LOSS_MISSED_RETURN, left->start);
		pending.delete(&tid);
	}
}

/* ---- signals and exits ---------------------------------------------------- */

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

/* ---- selection ----------------------------------------------------------- */

static __always_inline bool pid_selected(u32 pid)
{
	return selected_pids.lookup(&pid) != NULL;
}

static __always_inline void mark_socket(u64 sock, u32 mark)
{
	if (sockets.update(&sock, &mark))
		count(LOSS_SOCKETS_FULL);
}

/*
 * Both ends are marked, so that the far end of a selected process is seen, and
 * a reader of our own output is not: it would never end. Neither a dead peer nor
 * a socket without any (a failed connect) is marked: no release that we look at
 * would take the mark away again.
 */
static __always_inline void mark_connection(u64 sock, u64 peer, u32 mark)
{
	if (!peer)
		return;
	mark_socket(sock, mark);
	if (!sock_dead(peer))
		mark_socket(peer, mark);
}

/*
 * Whether an operation of the current task on this connection is wanted. When
 * pids are selected, a connection is undecided until it is accepted: till then
 * everything of it is wanted, for what the client sent is half of the story, and
 * so is the accept, which tells the reader how it was decided.
 */
static __always_inline bool selected(u32 operation, u64 sock, u64 peer)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u32 *mark = sockets.lookup(&sock);

	if (mark)
		return *mark == SOCKET_SELECTED;
	/*
	 * Whoever connects to us is seen before we accept: sk_peer_pid is then who called
	 * listen (copy_peercred()). Of others it need not be looked at.
	 */
	if (pid == TRACER_PID || (operation == OPERATION_CONNECT && sock_peer_pid(sock) == TRACER_PID)) {
		mark_connection(sock, peer, SOCKET_EXCLUDED);
		return false;
	}
#if SELECT_PIDS
	if (pid_selected(pid) || pid_selected(sock_peer_pid(sock))) {
		mark_connection(sock, peer, SOCKET_SELECTED);
		return true;
	}
	return operation == OPERATION_ACCEPT || !sock_inode(sock) ||
	       (peer && !sock_inode(peer) && !sock_dead(peer));
#else
	return true;
#endif
}

/* ---- filling the record -------------------------------------------------- */

/* task_pt_regs(): what the task had in its registers when it entered the kernel */
static __always_inline u64 task_registers(u64 task)
{
#if HAS_HELPER(task_pt_regs)
	return (u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
#else
	/* Kernels without the helper (5.15 brought it) have no padding above the registers. */
	return read_u64(task + OFFSET(task_struct, stack)) + THREAD_SIZE - sizeof(struct pt_regs);
#endif
}

static __always_inline void keep_owner(struct event *event)
{
	u64 sock = event->sock;
	struct owner owner = {
		.time = event->end,
		.inode_number = event->inode_number,
		.pid = event->pid,
	};

	if (event->operation == OPERATION_RELEASE)
		return;
	__builtin_memcpy(owner.leader, event->leader, sizeof(owner.leader));
	owners.update(&sock, &owner);
}

static __always_inline void fill_syscall(struct event *event, u64 task)
{
	u32 task_flags = read_u32(task + OFFSET(task_struct, flags));
	struct pt_regs registers = {};

	event->syscall = -1;
	event->descriptor = -1;
	if (task_flags & PF_EXITING) {
		event->flags |= EVENT_EXITING;
		event->exit_code = read_u32(task + OFFSET(task_struct, exit_code));
	}
	if (task_flags & PF_IO_WORKER) {
		event->flags |= EVENT_IO_URING;
		event->syscall = NR_io_uring_enter;
		/* Up to 5.11 io workers are kernel threads, of no process: whose work it was is not known. */
		if (!(task_flags & PF_KTHREAD))
			keep_owner(event);
		return;
	}
	if (task_flags & PF_KTHREAD) {
		event->flags |= EVENT_KERNEL_THREAD;
		return;
	}
	if (read_u32(task + OFFSET(task_struct, thread_info) + OFFSET(thread_info, status)) & TS_COMPAT)
		event->flags |= EVENT_COMPAT;

	bpf_probe_read_kernel(&registers, sizeof(registers), (void *)task_registers(task));
	event->syscall = registers.orig_ax;
	if (event->flags & EVENT_COMPAT)
		return;

	if (registers.orig_ax == NR_io_uring_enter) {
		event->flags |= EVENT_IO_URING;
		keep_owner(event);
	} else if (event->operation == OPERATION_RELEASE) {
		/* The last reference may also go by exit, execve, close_range... */
		if (registers.orig_ax == NR_close)
			event->descriptor = registers.di;
		else if (registers.orig_ax == NR_dup2 || registers.orig_ax == NR_dup3)
			event->descriptor = registers.si;
	} else if (registers.orig_ax == NR_splice && event->operation == OPERATION_WRITE) {
		event->descriptor = registers.dx;
	} else if (registers.orig_ax != NR_socketpair) {
		event->descriptor = registers.di;
	}
}

/*
 * task_tgid_nr_ns() and task_pid_nr_ns() for the task's own pid namespace. In the
 * initial one, level 0, the numbers are the ones that are known already.
 */
static __always_inline void fill_inner_pid(struct event *event, u64 task)
{
	u64 pid = read_u64(task + OFFSET(task_struct, thread_pid));
	u32 level = read_u32(pid + OFFSET(pid, level));

	event->inner_pid = event->pid;
	event->inner_tid = event->tid;
	if (!level)
		return;
	event->inner_tid = pid_inner_number(pid, level);
	pid = read_u64(read_u64(task + OFFSET(task_struct, signal)) + OFFSET(signal_struct, pids) +
		       ENUMERATOR(pid_type, PIDTYPE_TGID) * sizeof(pid));
	event->inner_pid = pid_inner_number(pid, level);
}

/*
 * unix_skb_len() over the receive queue, as unix_inq_len() sums it: what has
 * been sent to this endpoint and not been read, half-read messages included.
 */
static __always_inline void fill_unread_bytes(struct event *event, u64 sock)
{
	u64 queue = sock + OFFSET(sock, sk_receive_queue);
	u64 skb = read_u64(queue + OFFSET(sk_buff_head, next));
	u64 bytes = 0;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < UNREAD_WALK; i++) {
		if (!skb || skb == queue)
			break;
		bytes += read_u32(skb + OFFSET(sk_buff, len));
		bytes -= read_u32(skb + OFFSET(sk_buff, cb) + OFFSET(unix_skb_parms, consumed));
		skb = read_u64(skb + OFFSET(sk_buff, next));
	}
	if (i == UNREAD_WALK)
		event->flags |= EVENT_UNREAD_AT_LEAST;
	event->unread_bytes = bytes;
}

/* Whether a socket was bound, or came from a listener, which was: unix_bind_bsd(), unix_stream_connect(). */
static __always_inline bool sock_bound(u64 sock)
{
	return read_u64(sock + OFFSET(unix_sock, addr)) != 0;
}

static __always_inline void fill(struct event *event, u8 operation, u64 sock, u64 peer, bool peer_dead,
				 struct pending *entered, s64 result)
{
	u64 task = bpf_get_current_task();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 uid_gid = bpf_get_current_uid_gid();
	u64 inode = sock_inode(sock);

	event->start = entered->start;
	event->end = bpf_ktime_get_ns();
	event->sock = sock;
	event->peer = peer;
	event->inode = inode;
	event->peer_inode = 0;
	event->inode_number = inode ? read_u64(inode + OFFSET(inode, i_ino)) : 0;
	event->size = entered->size;
	event->result = result;
	event->unread_bytes = 0;
	event->cgroup = bpf_get_current_cgroup_id();
	event->unread_messages = read_u32(sock + OFFSET(sock, sk_receive_queue) + OFFSET(sk_buff_head, qlen));
	event->pid = pid_tgid >> 32;
	event->tid = pid_tgid;
	event->uid = uid_gid;
	event->gid = uid_gid >> 32;
	event->peer_pid = sock_peer_pid(sock);
	event->owner_pid = 0;
	event->message_flags = entered->message_flags;
	event->exit_code = 0;
	event->cpu = bpf_get_smp_processor_id();
	event->operation = operation;
	event->flags = 0;
	event->type = read_u16(sock + OFFSET(sock, sk_type));
	event->shutdown = read_u8(sock + OFFSET(sock, sk_shutdown));
	event->peer_shutdown = 0;
	event->address_length = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (event->pid == event->tid)
		__builtin_memcpy(event->leader, event->comm, sizeof(event->leader));
	else
		read_leader_comm(event->leader, task);
	if (peer) {
		event->peer_inode = sock_inode(peer);
		event->peer_shutdown = read_u8(peer + OFFSET(sock, sk_shutdown));
		if (peer_dead)
			event->flags |= EVENT_PEER_DEAD;
	}
	if (operation == OPERATION_RELEASE || operation == OPERATION_SHUTDOWN || result < 0) {
		if (sock_bound(sock))
			event->flags |= EVENT_BOUND;
		if (peer && sock_bound(peer))
			event->flags |= EVENT_PEER_BOUND;
	}
	fill_inner_pid(event, task);
	fill_syscall(event, task);
}

/* Follows the record with the path or abstract name: unix(7), "Address format". */
static __always_inline void fill_address(struct event_with_address *record, u64 name, u32 length)
{
	u64 bytes = length;

	/* sun_family comes first. */
	if (bytes <= sizeof(u16))
		return;
	bytes -= sizeof(u16);
	if (bytes > ADDRESS_MAX)
		bytes = ADDRESS_MAX;
	bpf_probe_read_kernel(record->address, bytes & 127, (void *)(name + sizeof(u16)));
	record->event.address_length = bytes;
}

/* The name that the listener was bound to, which accepted sockets share (unix_stream_connect()). */
static __always_inline void fill_bound_address(struct event_with_address *record, u64 sock)
{
	u64 address = read_u64(sock + OFFSET(unix_sock, addr));

	if (address)
		fill_address(record, address + OFFSET(unix_address, name),
			     read_u32(address + OFFSET(unix_address, len)));
}

/*
 * Whom to wake: the reader polls several times a second, which is enough for
 * what went well; it is woken for what went wrong, and before the ring is full.
 */
static __always_inline u64 wake_flags(u8 operation, s64 result)
{
	u32 zero = 0;
	u64 *count = recorded.lookup(&zero);
	bool wake = count && ++*count % WAKE_RECORDS == 0;

	if (result == -EPIPE || result == -ECONNRESET || result == -ECONNREFUSED)
		wake = true;
	if (operation == OPERATION_CONNECT && result == -EAGAIN)
		wake = true;
	return wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline bool traced_type(u64 sock)
{
	u16 type = read_u16(sock + OFFSET(sock, sk_type));

	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

/* ---- entering a function ------------------------------------------------- */

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

/* int unix_stream_sendmsg(struct socket *, struct msghdr *, size_t); seqpacket alike */
int enter_sendmsg(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
		.size = ARGUMENT(3),
		.message_flags = read_u32(ARGUMENT(2) + OFFSET(msghdr, msg_flags)),
	};

	return enter(OPERATION_WRITE, &entered);
}

/*
 * ssize_t unix_stream_sendpage(struct socket *, struct page *, int, size_t, int flags):
 * sendfile and splice, until MSG_SPLICE_PAGES sent them through sendmsg.
 */
int enter_sendpage(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
		.size = ARGUMENT(4),
		.message_flags = ARGUMENT(5),
	};

	return enter(OPERATION_WRITE, &entered);
}

/* int unix_stream_recvmsg(struct socket *, struct msghdr *, size_t, int flags); seqpacket alike */
int enter_recvmsg(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
		.size = ARGUMENT(3),
		.message_flags = ARGUMENT(4),
	};

	return enter(OPERATION_READ, &entered);
}

/*
 * ssize_t unix_stream_splice_read(struct socket *, loff_t *, struct pipe_inode_info *,
 * size_t, unsigned int): its flags are SPLICE_F_*, not MSG_*.
 */
int enter_splice_read(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
		.size = ARGUMENT(4),
	};

	return enter(OPERATION_READ, &entered);
}

/* int unix_stream_connect(struct socket *, struct sockaddr *, int length, int flags) */
int enter_connect(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
		.address = ARGUMENT(2),
		.address_length = ARGUMENT(3),
	};

	return enter(OPERATION_CONNECT, &entered);
}

/*
 * int unix_accept(struct socket *, struct socket *new, ...): what follows differs
 * between kernels and is not looked at.
 */
int enter_accept(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(2),
	};

	return enter(OPERATION_ACCEPT, &entered);
}

/* int unix_socketpair(struct socket *, struct socket *) */
int enter_socketpair(CONTEXT *ctx)
{
	struct pending entered = {
		.socket = ARGUMENT(1),
	};

	return enter(OPERATION_SOCKETPAIR, &entered);
}

/* ---- leaving it ---------------------------------------------------------- */

/* with_address is constant: a program writes one kind of record. */
static __always_inline int finish(s64 result, bool with_address)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pending *found = pending.lookup(&tid);
	struct pending entered;
	struct event *event;
	u64 sock, peer;
	bool peer_dead;

	/* Not found: entered before the probes were attached, or counted by enter(). */
	if (!found)
		return 0;
	entered = *found;
	pending.delete(&tid);

	sock = socket_sock(entered.socket);
	peer = unix_peer(sock);
	/* No peer: a failed accept, ENOTCONN...: there is no connection to tell of. */
	if (entered.operation == OPERATION_CONNECT) {
		/* EISCONN: the connection that stands is not this one's. */
		if (result)
			peer = 0;
	} else if (!peer || !traced_type(sock)) {
		return 0;
	}
	if (!selected(entered.operation, sock, peer))
		return 0;

	peer_dead = peer && sock_dead(peer);
	event = ring.ringbuf_reserve(with_address ? sizeof(struct event_with_address) : sizeof(struct event));
	if (!event) {
		count(LOSS_RING_FULL);
		return 0;
	}
	fill(event, entered.operation, sock, peer, peer_dead, &entered, result);
	if (with_address) {
		struct event_with_address *record = (void *)event;

		if (entered.operation == OPERATION_ACCEPT)
			fill_bound_address(record, sock);
		else if (peer)
			fill_bound_address(record, peer);
		else
			fill_address(record, entered.address, entered.address_length);
	}
	ring.ringbuf_submit(event, wake_flags(entered.operation, result));
	return 0;
}

LEAVE_PROBES

/* ---- what is recorded when it begins --------------------------------------- */

/*
 * A kernel thread drops the last reference: the exit work of an io_uring that had it
 * (io_ring_exit_work()), or a delayed fput(). Whose it was is what io_uring used it for.
 */
static __always_inline void fill_owner(struct event_with_sender *record)
{
	struct event *event = &record->event;
	u64 sock = event->sock;
	struct owner *owner = owners.lookup(&sock);
	struct exited *exited;
	u32 pid;

	if (!owner || owner->inode_number != event->inode_number)
		return;
	pid = owner->pid;
	event->owner_pid = pid;
	__builtin_memcpy(event->leader, owner->leader, sizeof(event->leader));
	exited = exits.lookup(&pid);
	if (!exited || exited->time < owner->time)
		return;
	event->flags |= EVENT_OWNER_EXITED;
	event->exit_code = exited->exit_code;
	if (exited->with_sender) {
		record->sender = exited->sender;
		event->flags |= EVENT_SENDER;
		event->address_length = sizeof(record->sender);
	}
}

static __always_inline void fill_release(struct event_with_sender *record, u64 sock, bool embryo)
{
	struct event *event = &record->event;

	if (embryo)
		event->flags |= EVENT_EMBRYO;
	event->size = read_u32(sock + OFFSET(sock, sk_err));
	if (event->flags & EVENT_KERNEL_THREAD) {
		fill_owner(record);
	} else if (event->flags & EVENT_EXITING) {
		if (find_sender(&record->sender, bpf_get_current_task(), event->pid, event->exit_code)) {
			event->flags |= EVENT_SENDER;
			event->address_length = sizeof(record->sender);
		}
	}
	fill_unread_bytes(event, sock);
}

/*
 * Shutdown and release are recorded when they are entered: then their records
 * stand in the ring before anything that follows from them, the broken write as
 * well as the next user of a freed struct sock.
 */
static __always_inline int record_entry(u32 operation, u64 sock, u64 peer, s64 size, s64 result, bool embryo)
{
	struct pending entered = {
		.size = size,
	};
	struct event *event;
	bool peer_dead;

	/* A thread that is here is not inside another function with a connection. */
	count_left_behind(bpf_get_current_pid_tgid());
	entered.start = bpf_ktime_get_ns();
	/*
	 * Before a place in the ring is taken: what says that the peer is dead stands
	 * after the peer's own release, also when both are released in the same instant.
	 */
	peer_dead = peer && sock_dead(peer);
	event = ring.ringbuf_reserve(operation == OPERATION_RELEASE ? sizeof(struct event_with_sender) : sizeof(struct event));
	if (!event) {
		count(LOSS_RING_FULL);
		return 0;
	}
	fill(event, operation, sock, peer, peer_dead, &entered, result);
	if (operation == OPERATION_RELEASE)
		fill_release((void *)event, sock, embryo);
	ring.ringbuf_submit(event, wake_flags(operation, result));
	return 0;
}

/* int unix_shutdown(struct socket *, int how): fails for nothing but another "how" */
int enter_shutdown(CONTEXT *ctx)
{
	u64 sock = socket_sock(ARGUMENT(1));
	s32 how = ARGUMENT(2);
	u64 peer = unix_peer(sock);

	if (!peer || !traced_type(sock) || !selected(OPERATION_SHUTDOWN, sock, peer))
		return 0;
	return record_entry(OPERATION_SHUTDOWN, sock, peer, how, how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : 0,
			    false);
}

/* void unix_release_sock(struct sock *, int embrion): the receive queue has not been purged */
int enter_release(CONTEXT *ctx)
{
	u64 sock = ARGUMENT(1);
	s32 embryo = ARGUMENT(2);
	u64 peer = unix_peer(sock);
	bool wanted;

	/* No peer: a listener, or a socket that was never connected. */
	if (!peer || !traced_type(sock))
		return 0;
	wanted = selected(OPERATION_RELEASE, sock, peer);
	sockets.delete(&sock);
	if (!wanted)
		return 0;
	return record_entry(OPERATION_RELEASE, sock, peer, 0, 0, embryo);
}

/*
 * void unix_sock_destructor(struct sock *): nobody has it any more. A peer may have
 * marked it once more between its release, which took the mark away, and its being
 * orphaned; the next socket at this address would inherit the mark.
 */
int enter_destructor(CONTEXT *ctx)
{
	u64 sock = ARGUMENT(1);

	sockets.delete(&sock);
	return 0;
}
