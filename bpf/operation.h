/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One operation as a record: who did it, by which system call, on which two sockets.
 */
#ifndef HANGUP_OPERATION_H
#define HANGUP_OPERATION_H

#include "kernel.h"
#include "pending.h"
#include "record.h"
#include "senders.h"

/*
 * How many sk_buffs of a queue are summed, see unread_bytes(). Messages of one byte
 * fill a send buffer of the default size (net.core.wmem_default) with 277; the
 * verifier's time grows with the square.
 */
#define UNREAD_WALK 320

#define OWNERS_MAX 4096

/* include/uapi/asm-generic/errno.h */
#define EAGAIN 11
#define EINVAL 22
#define EPIPE 32
#define ENOSYS 38
#define ECONNRESET 104
#define ECONNREFUSED 111

struct operation_record {
	struct record record;
	struct section section;
	struct operation operation;
};

/*
 * The record of a connect or an accept. The room is more than ADDRESS_MAX so that
 * a mask shows the verifier that a length stays inside.
 */
struct operation_with_address {
	struct operation_record base;
	struct section section;
	char address[128];
};

/* The record of a release. */
struct operation_with_sender {
	struct operation_record base;
	struct section section;
	struct sender sender;
};

/*
 * The record of a read or a write with its first bytes (payload.h). Behind it there is twice as much
 * room as they need at most, and 8 bytes more: the verifier does not see that where one part ends and
 * how long the next one is depend on each other.
 */
struct operation_with_payload {
	struct operation_record base;
	struct section section;
	char payload[];
};

/* Which process used a socket by io_uring last. */
struct owner {
	u64 time;
	u64 inode_number;       /* of the socket: its address was not given to another one */
	u32 pid;
	u32 unused;
	char leader[16];
};

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_PERCPU_ARRAY(recorded, u64, 1);
/* By socket. Nobody deletes them: the oldest go. */
BPF_TABLE("lru_hash", u64, struct owner, owners, OWNERS_MAX);

/* task_pt_regs(): what the task had in its registers when it entered the kernel */
static __always_inline u64 task_registers(u64 task)
{
#if HAS_HELPER(task_pt_regs)
	return (u64)bpf_task_pt_regs((void *)task);
#else
	/* Kernels without the helper (5.15 brought it) have no padding above the registers. */
	return read_u64(task + OFFSET(task_struct, stack)) + THREAD_SIZE - sizeof(struct pt_regs);
#endif
}

/* What a task does in the kernel on whose behalf, and by which system call. */
struct caller {
	u32 exit_code;
	s32 syscall;
	s32 descriptor;
	u32 flags;              /* enum event_flag */
};

static __always_inline void find_caller(struct caller *caller, u64 task, u8 operation)
{
	u32 task_flags = TASK_LOAD(u32, task + OFFSET(task_struct, flags));
	u64 registers, number;

	caller->syscall = -1;
	caller->descriptor = -1;
	if (task_flags & PF_EXITING) {
		caller->flags |= EVENT_EXITING;
		caller->exit_code = TASK_LOAD(u32, task + OFFSET(task_struct, exit_code));
	}
	if (task_flags & PF_IO_WORKER) {
		caller->flags |= EVENT_IO_URING;
		caller->syscall = NR_io_uring_enter;
		return;
	}
	if (task_flags & PF_KTHREAD) {
		caller->flags |= EVENT_KERNEL_THREAD;
		return;
	}
	if (TASK_LOAD(u32, task + OFFSET(task_struct, thread_info) + OFFSET(thread_info, status)) & TS_COMPAT)
		caller->flags |= EVENT_COMPAT;

	registers = task_registers(task);
	number = TASK_LOAD(u64, registers + OFFSET(pt_regs, orig_ax));
	/*
	 * As long as it is in the call this stands where its result will (entry_SYSCALL_64(),
	 * arch/x86/entry/entry_64.S). After it the kernel does what an io_uring was asked for
	 * before (task_work_run()), and closes files.
	 */
	if ((operation == OPERATION_READ || operation == OPERATION_WRITE) &&
	    TASK_LOAD(u64, registers + OFFSET(pt_regs, ax)) != (u64)-ENOSYS)
		number = NR_io_uring_enter;
	caller->syscall = number;
	if (caller->flags & EVENT_COMPAT)
		return;

	if (number == NR_io_uring_enter) {
		caller->flags |= EVENT_IO_URING;
	} else if (operation == OPERATION_RELEASE) {
		/* The last reference may also go by exit, execve, close_range... */
		if (number == NR_close)
			caller->descriptor = TASK_LOAD(u64, registers + OFFSET(pt_regs, di));
		else if (number == NR_dup2 || number == NR_dup3)
			caller->descriptor = TASK_LOAD(u64, registers + OFFSET(pt_regs, si));
	} else if (number == NR_splice && operation == OPERATION_WRITE) {
		caller->descriptor = TASK_LOAD(u64, registers + OFFSET(pt_regs, dx));
	} else if (number != NR_socketpair) {
		caller->descriptor = TASK_LOAD(u64, registers + OFFSET(pt_regs, di));
	}
}

/* By io_uring, and of which process: up to 5.11 io workers are kernel threads, of none. */
static __always_inline bool uses_io_uring(struct caller *caller, u64 task)
{
	return caller->flags & EVENT_IO_URING && !(TASK_LOAD(u32, task + OFFSET(task_struct, flags)) & PF_KTHREAD);
}

static __always_inline void keep_owner(struct operation_record *record)
{
	struct operation *operation = &record->operation;
	u64 sock = operation->sock;
	struct owner owner = {
		.time = record->record.time,
		.inode_number = operation->inode_number,
		.pid = operation->pid,
	};

	__builtin_memcpy(owner.leader, operation->leader, sizeof(owner.leader));
	owners.update(&sock, &owner);
}

/*
 * task_tgid_nr_ns() and task_pid_nr_ns() for the task's own pid namespace. In the
 * initial one, level 0, the numbers are the ones that are known already.
 */
static __always_inline void find_inner_pid(u32 *inner_pid, u32 *inner_tid, u64 task, u64 pid_tgid)
{
	u64 pid = TASK_LOAD(u64, task + OFFSET(task_struct, thread_pid));
	u32 level = TASK_LOAD(u32, pid + OFFSET(pid, level));

	*inner_pid = pid_tgid >> 32;
	*inner_tid = pid_tgid;
	if (!level)
		return;
	*inner_tid = pid_inner_number(pid, level);
	pid = read_u64(TASK_LOAD(u64, task + OFFSET(task_struct, signal)) + OFFSET(signal_struct, pids) +
		       ENUMERATOR(pid_type, PIDTYPE_TGID) * sizeof(pid));
	*inner_pid = pid_inner_number(pid, level);
}

/* What is in the queue of an endpoint that is released. */
struct unread {
	u64 bytes;
	u32 messages;
	u32 flags;              /* enum event_flag */
};

/*
 * unix_skb_len() over the receive queue, as unix_inq_len() sums it: what has
 * been sent to this endpoint and not been read, half-read messages included.
 */
static __always_inline void find_unread(struct unread *unread, u64 sock)
{
	u64 queue = sock + OFFSET(sock, sk_receive_queue);
	u64 bytes = 0;
	u64 skb;
	int i;

	unread->messages = LOAD(u32, sock + OFFSET(sock, sk_receive_queue) + OFFSET(sk_buff_head, qlen));
	if (!unread->messages)
		return;
	skb = read_u64(queue + OFFSET(sk_buff_head, next));
#pragma clang loop unroll(disable)
	for (i = 0; i < UNREAD_WALK; i++) {
		if (!skb || skb == queue)
			break;
		bytes += read_u32(skb + OFFSET(sk_buff, len));
		bytes -= read_u32(skb + OFFSET(sk_buff, cb) + OFFSET(unix_skb_parms, consumed));
		skb = read_u64(skb + OFFSET(sk_buff, next));
	}
	if (i == UNREAD_WALK)
		unread->flags = EVENT_UNREAD_AT_LEAST;
	unread->bytes = bytes;
}

/* Whether a socket was bound, or came from a listener, which was: unix_bind_bsd(), unix_stream_connect(). */
static __always_inline bool sock_bound(u64 sock)
{
	return read_u64(sock + OFFSET(unix_sock, addr)) != 0;
}

static __always_inline void fill_comms(char *comm, char *leader, u64 task, u64 pid_tgid)
{
	/*
	 * Some kernels' helper writes nothing behind the name: strscpy() in 6.1's bpf_get_current_comm(),
	 * kernel/bpf/helpers.c, strscpy_pad() later. What had stood there would make another name of it
	 * for whoever compares all 16 bytes.
	 */
	__builtin_memset(comm, 0, 16);
	bpf_get_current_comm(comm, 16);
	if (pid_tgid >> 32 == (u32)pid_tgid)
		__builtin_memcpy(leader, comm, 16);
	else
		read_leader_comm(leader, task);
}

/* history: of this endpoint, NULL: there is none. peer: as typed_unix_peer() finds it. */
static __always_inline void fill(struct operation_record *record, struct history *history, u8 operation, u64 sock, u64 peer,
				 bool peer_dead, struct pending *entered, s64 result)
{
	struct operation *filled = &record->operation;
	u64 task = current_task();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 uid_gid = bpf_get_current_uid_gid();
	struct caller caller = {};

	find_caller(&caller, task, operation);
	record->record.length = sizeof(*record);
	record->record.type = RECORD_OPERATION;
	record->record.time = entered->end ? entered->end : entered->start;
	record->section.type = SECTION_OPERATION;
	record->section.length = sizeof(record->operation);
	record->section.unused = 0;
	filled->start = entered->start ? entered->start : entered->end;
	filled->sock = sock;
	filled->peer = peer;
	if (history) {
		/* Accept gives it one, and a client may have used it before. */
		if (!history->inode)
			find_inode(&history->inode, &history->inode_number, sock);
		record->record.connection = history->connection;
		filled->inode = history->inode;
		filled->inode_number = history->inode_number;
		filled->peer_pid = history->opener_pid;
		filled->type = history->type;
	} else {
		record->record.connection = 0;
		find_inode(&filled->inode, &filled->inode_number, sock);
		filled->peer_pid = typed_peer_pid(sock);
		filled->type = LOAD(u16, sock + OFFSET(sock, sk_type));
	}
	filled->peer_inode = 0;
	filled->size = entered->size;
	filled->result = result;
	filled->unread_bytes = 0;
	filled->cgroup = bpf_get_current_cgroup_id();
	filled->unread_messages = LOAD(u32, sock + OFFSET(sock, sk_receive_queue) + OFFSET(sk_buff_head, qlen));
	filled->pid = pid_tgid >> 32;
	filled->tid = pid_tgid;
	filled->uid = uid_gid;
	filled->gid = uid_gid >> 32;
	filled->owner_pid = 0;
	filled->message_flags = entered->message_flags;
	filled->exit_code = caller.exit_code;
	filled->syscall = caller.syscall;
	filled->descriptor = caller.descriptor;
	filled->cpu = bpf_get_smp_processor_id();
	filled->operation = operation;
	filled->shutdown = LOAD(u8, sock + OFFSET(sock, sk_shutdown));
	filled->peer_shutdown = 0;
	filled->unused = 0;
	fill_comms(filled->comm, filled->leader, task, pid_tgid);
	if (peer) {
		filled->peer_inode = inode_of(PEER_LOAD(u64, peer + OFFSET(sock, sk_socket)));
		filled->peer_shutdown = PEER_LOAD(u8, peer + OFFSET(sock, sk_shutdown));
		if (peer_dead)
			caller.flags |= EVENT_PEER_DEAD;
	}
	if (operation == OPERATION_RELEASE || operation == OPERATION_SHUTDOWN || result < 0) {
		if (sock_bound(sock))
			caller.flags |= EVENT_BOUND;
		if (peer && sock_bound(peer))
			caller.flags |= EVENT_PEER_BOUND;
	}
	find_inner_pid(&filled->inner_pid, &filled->inner_tid, task, pid_tgid);
	record->record.flags = caller.flags;
	if (operation != OPERATION_RELEASE && uses_io_uring(&caller, task))
		keep_owner(record);
}

/* Writes a path or abstract name, unix(7), "Address format", and returns its length. */
static __always_inline u32 read_address(char *address, u64 name, u32 length)
{
	u64 bytes = length;

	/* sun_family comes first. */
	if (bytes <= sizeof(u16))
		return 0;
	bytes -= sizeof(u16);
	if (bytes > ADDRESS_MAX)
		bytes = ADDRESS_MAX;
	bpf_probe_read_kernel(address, bytes & 127, (void *)(name + sizeof(u16)));
	return bytes;
}

/* The name that the listener was bound to, which accepted sockets share (unix_stream_connect()). */
static __always_inline u32 read_bound_address(char *address, u64 sock)
{
	u64 bound = read_u64(sock + OFFSET(unix_sock, addr));

	if (!bound)
		return 0;
	return read_address(address, bound + OFFSET(unix_address, name), read_u32(bound + OFFSET(unix_address, len)));
}

/* A section's length fills 8 bytes: what had stood in this place before is not to be told with it. */
static __always_inline void fill_up(char *end)
{
	__builtin_memset(end, 0, sizeof(u64) - 1);
}

static __always_inline void fill_address(struct operation_with_address *record, u32 length)
{
	u64 end = length & 127;

	if (!length || end > ADDRESS_MAX)
		return;
	fill_up(record->address + end);
	record->section.type = SECTION_ADDRESS;
	record->section.length = length;
	record->section.unused = 0;
	record->base.record.length += sizeof(record->section) + ((length + 7) & ~7U);
}

static __always_inline void fill_sender(struct operation_with_sender *record)
{
	record->base.record.flags |= EVENT_SENDER;
	record->section.type = SECTION_SENDER;
	record->section.length = sizeof(record->sender);
	record->section.unused = 0;
	record->base.record.length = sizeof(*record);
}

/*
 * Whom to wake: the reader polls several times a second, which is enough for
 * what went well; it is woken for what went wrong, and before the ring is full.
 */
static __always_inline u64 wake_flags(u8 operation, s64 result)
{
	u32 zero = 0;
	u64 *count = recorded.lookup(&zero);
	bool wake = count && !(++*count & WAKE_MASK);

	if (result == -EPIPE || result == -ECONNRESET || result == -ECONNREFUSED)
		wake = true;
	if (operation == OPERATION_CONNECT && result == -EAGAIN)
		wake = true;
	return wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/*
 * A kernel thread drops the last reference: the exit work of an io_uring that had it
 * (io_ring_exit_work()), or a delayed fput(). Whose it was is what io_uring used it for.
 */
static __always_inline void fill_owner(struct operation_with_sender *record)
{
	struct operation *operation = &record->base.operation;
	u64 sock = operation->sock;
	struct owner *owner = owners.lookup(&sock);
	struct exited *exited;
	u32 pid;

	if (!owner || owner->inode_number != operation->inode_number)
		return;
	pid = owner->pid;
	operation->owner_pid = pid;
	__builtin_memcpy(operation->leader, owner->leader, sizeof(operation->leader));
	exited = exits.lookup(&pid);
	if (!exited || exited->time < owner->time)
		return;
	record->base.record.flags |= EVENT_OWNER_EXITED;
	operation->exit_code = exited->exit_code;
	if (exited->with_sender) {
		record->sender = exited->sender;
		fill_sender(record);
	}
}

static __always_inline void fill_release(struct operation_with_sender *record, u64 sock, struct unread *unread,
					 bool embryo)
{
	struct operation *operation = &record->base.operation;
	u32 flags = record->base.record.flags | unread->flags;

	if (embryo)
		flags |= EVENT_EMBRYO;
	operation->size = read_u32(sock + OFFSET(sock, sk_err));
	operation->unread_bytes = unread->bytes;
	record->base.record.flags = flags;
	if (flags & EVENT_KERNEL_THREAD)
		fill_owner(record);
	else if (flags & EVENT_EXITING &&
		 find_sender(&record->sender, bpf_get_current_task(), operation->pid, operation->exit_code))
		fill_sender(record);
}

static __always_inline bool is_traced(u16 type)
{
	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

#endif /* HANGUP_OPERATION_H */
