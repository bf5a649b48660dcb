// SPDX-License-Identifier: GPL-2.0-only
/*
 * Probes on the AF_UNIX implementation (net/unix/af_unix.c): each finished
 * connect, accept, socketpair, read, write, shutdown and release of a
 * SOCK_STREAM or SOCK_SEQPACKET endpoint. It is kept in the endpoint's history
 * (history.h), which is handed over when somebody was hurt; from then on it is a
 * record in the ring buffer. With STREAMING that is so from the beginning.
 *
 * The proto_ops functions are probed, not the system calls, so that io_uring,
 * sendfile and splice are seen too and a host's other traffic costs nothing.
 *
 * The loader defines RING_PAGES, CPUS and PROBES_FENTRY, and what kernel.h describes;
 * it puts local headers in the place of their #include, because BCC finds uses of maps
 * in the main file only.
 */
#include <uapi/linux/ptrace.h>

#include "history.h"
#include "identity.h"
#include "kernel.h"
#include "names.h"
#include "operation.h"
#include "payload.h"
#include "pending.h"
#include "probes.h"
#include "record.h"
#include "senders.h"

/* ---- one operation -------------------------------------------------------- */

/* The record of an operation that has ended. with_address is constant: a program writes one kind of record. */
static __always_inline void tell(struct history *history, u32 flags, u64 sock, u64 peer, struct pending *entered,
				 s64 result, bool with_address, bool wake)
{
	struct operation_record *record;
	/*
	 * Before a place in the ring is taken: what says that the peer is dead stands
	 * after the peer's own release, also when both are released in the same instant.
	 */
	bool peer_dead = peer && typed_dead(peer);
	u64 bytes = sizeof(struct operation_with_address);
	u64 room = 0;

	if (!with_address) {
		room = room_for(entered, result);
		/* A constant on each way from here, so that the verifier knows what there is room for. */
		barrier_var(room);
		bytes = sizeof(struct operation_record);
		if (room)
			bytes = sizeof(struct operation_with_payload) + 2 * room + sizeof(u64);
	}
	record = ring.ringbuf_reserve(bytes);
	if (!record) {
		count(LOSS_RING_FULL);
		return;
	}
	fill(record, history, entered->operation, sock, peer, peer_dead, entered, result);
	record->record.flags |= flags;
	if (with_address) {
		struct operation_with_address *with = (void *)record;

		if (entered->operation == OPERATION_ACCEPT)
			fill_address(with, read_bound_address(with->address, sock));
		else if (peer)
			fill_address(with, read_bound_address(with->address, peer));
		else
			fill_address(with, read_address(with->address, entered->address, entered->address_length));
	} else if (room) {
		fill_payload((void *)record, room);
	}
	ring.ringbuf_submit(record, wake ? BPF_RB_FORCE_WAKEUP : wake_flags(entered->operation, result));
}

/*
 * The record of what begins now. Shutdown and release are recorded when they are
 * entered: then their records stand in the ring before anything that follows from
 * them, the broken write as well as the next user of a freed struct sock.
 */
static __always_inline void tell_entry(struct history *history, u32 flags, u32 operation, u64 sock, s64 size, s64 result,
				       u64 now, struct unread *unread, bool embryo)
{
	struct pending entered = {
		.size = size,
		.start = now,
	};
	struct operation_record *record;
	u64 peer = known_peer(history, sock);
	bool peer_dead = peer && typed_dead(peer);

	record = ring.ringbuf_reserve(operation == OPERATION_RELEASE ? sizeof(struct operation_with_sender) : sizeof(struct operation_record));
	if (!record) {
		count(LOSS_RING_FULL);
		return;
	}
	fill(record, history, operation, sock, peer, peer_dead, &entered, result);
	record->record.flags |= flags;
	if (operation == OPERATION_RELEASE)
		fill_release((void *)record, sock, unread, embryo);
	ring.ringbuf_submit(record, wake_flags(operation, result));
}

/*
 * What is kept of an endpoint that something happens on; NULL: of this one nothing. sure: see
 * to it that it is of this connection, and not of an earlier socket at this address.
 */
static __always_inline struct history *history_of(u64 sock, u64 key, u32 state, u64 now, bool sure)
{
	struct history *history = find_history(key);
	u64 peer;

	/* Two cpus that came to the same place at once may have mixed two. */
	if (history && (history->state & HISTORY_RELEASED || !is_of(history, sock)))
		history = NULL;
	if (history && !STREAMING && !sure)
		return history;
	peer = typed_unix_peer(sock);
	/* Else the end of the earlier one was missed. */
	if (history && has_peer(history, peer))
		return history;
	/* It is older than the probes, or its beginning was missed. */
	if (!peer || !is_traced(LOAD(u16, sock + OFFSET(sock, sk_type))))
		return NULL;
	return begin_history(sock, key, peer, state, now);
}

/* Which conditions on who uses an end, or has opened one, do not hold yet. */
static __always_inline u32 missing_user(struct history *history)
{
	return SELECTED_BY & ~history->decided;
}

/*
 * Whether a connection that goes wrong is handed over, or when streaming all of it is.
 * Whoever used it before was looked at then; who is here may have become another user, or
 * have got another name or cgroup.
 */
static __always_inline bool is_selected(struct history *history, u64 sock)
{
	struct history *other;

	if (!SELECTED_BY && !COMM_GLOBS && !PATHS_DECIDE)
		return true;
	other = peer_history(history);
	/* Both ends at once, on two cpus: each has begun without the other one. */
	if (other)
		history->decided |= other->decided & HISTORY_DECIDED;
	decide_by_user(history, other);
	return is_named(history, other, sock) && !missing_user(history);
}

/*
 * Whether it is not known yet who has its ends: it was not accepted, or the connect has not
 * returned. Everything of a connection is wanted till then, for what the client sent is half
 * of the story.
 */
static __always_inline bool is_undecided(struct history *history)
{
	struct history *other;

	if ((history->state & (HISTORY_BEGUN | HISTORY_PAIR)) != HISTORY_BEGUN ||
	    history->decided & (HISTORY_EXCLUDED | HISTORY_IGNORED))
		return false;
	other = peer_history(history);
	if (history->state & HISTORY_CLIENT)
		return !other || !(other->state & HISTORY_BEGUN);
	/* Who opened it has a pid at once, and all else when the connect has returned. */
	return !other && !(missing_user(history) & HISTORY_PID_SELECTED);
}

/*
 * Whether something of a connection is recorded: whatever follows a hand-over is, and as long
 * as it is undecided what may turn out to be selected, when it is accepted.
 */
static __always_inline bool is_wanted(struct history *history, u64 sock)
{
	if (!STREAMING && history->decided & HISTORY_HANDED_OVER)
		return true;
	return is_selected(history, sock) || is_undecided(history);
}

/* Whether a read or write that has ended may have hurt who did it; keeps what it says of the turns. */
static __always_inline bool hurts(struct history *history, struct pending *entered, u64 sock, s64 result, u64 now)
{
	if (result == -ECONNRESET)
		return true;
	if (entered->operation == OPERATION_WRITE) {
		if (result <= 0)
			return result == -EPIPE;
		/* Cut short: it had waited for room when the other end hung up, or shut this one down. */
		if (result < entered->size && !(entered->message_flags & MSG_DONTWAIT) &&
		    LOAD(u8, sock + OFFSET(sock, sk_shutdown)) & SEND_SHUTDOWN)
			return true;
		wrote(history, result, now);
		return false;
	}
	if ((!result || entered->message_flags & MSG_WAITALL) && result < entered->size && may_be_cut(history))
		return true;
	if (result > 0) {
		history->heard |= HEARD_SINCE;
		if (!(entered->message_flags & MSG_PEEK)) {
			__sync_fetch_and_add(&history->read_bytes, result);
			__sync_fetch_and_add(&history->reads, 1);
		}
	}
	return false;
}

/* A read or write that has ended. */
static __always_inline int transferred(struct pending *entered, u64 sock, s64 result)
{
	u64 now = bpf_ktime_get_ns();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	/* When it may have hurt somebody. */
	struct history *history = history_of(sock, key_of(sock), 0, now, result <= 0);
	u32 overtaken = 0;
	bool first;

	is_aftermath(pid_tgid, now);
	if (!history || history->decided & HISTORY_EXCLUDED)
		return 0;
	if (history->holder != pid_tgid) {
		remember_user(history, pid_tgid, true);
		if (history->decided & HISTORY_EXCLUDED)
			return 0;
	}
	first = !STREAMING && !(history->decided & HISTORY_HANDED_OVER);
	history->last_use = now;
	/* The ring may be younger than its process's first use of this. What it does first never waits (io_queue_sqe()). */
	if (first && entered->message_flags & MSG_DONTWAIT && !history->owner_pid)
		remember_owner(history, pid_tgid >> 32);
	if (first && !hurts(history, entered, sock, result, now)) {
		overtaken = note(history, entered->operation, entered->size, entered->message_flags, result, 0, now);
		if (!overtaken)
			return 0;
		first = false;
	}
	if (!is_wanted(history, sock))
		return 0;
	if (first && !hand_over(history, sock, BPF_RB_NO_WAKEUP)) {
		note(history, entered->operation, entered->size, entered->message_flags, result, 0, now);
		return 0;
	}
	/* The operation that hurt somebody stands behind what had been kept till then. */
	entered->end = now;
	tell(history, overtaken, sock, known_peer(history, sock), entered, result, false, first);
	return 0;
}

/* An accept, a connect or a socketpair that has ended. */
static __always_inline int begun(struct pending *entered, u64 sock, u64 peer, u32 state, s64 result)
{
	u64 now = bpf_ktime_get_ns();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	bool aftermath = is_aftermath(pid_tgid, now);
	struct history *history;
	bool wanted = true;
	u32 overtaken = 0;

	if (!peer || !is_traced(LOAD(u16, sock + OFFSET(sock, sk_type))))
		return 0;
	entered->end = now;
	history = find_history(key_of(sock));
	if (history && has_peer(history, peer) && !(history->state & (HISTORY_BEGUN | HISTORY_RELEASED)))
		/* Another thread was faster than the one that returns from here. */
		history->state |= state | HISTORY_BEGUN;
	else
		history = begin_history(sock, key_of(sock), peer, state | HISTORY_BEGUN, now);
	if (!history)
		return 0;
	remember_user(history, pid_tgid, true);
	if (history->decided & HISTORY_EXCLUDED)
		return 0;
	if (!STREAMING)
		introduce(history, now);
	/* A socketpair is one operation, its first end's. */
	if (state == (HISTORY_SERVER | HISTORY_PAIR))
		return 0;
	if (STREAMING)
		wanted = is_wanted(history, sock);
	/* A connect or an accept that decides against a connection is recorded, so that the reader learns of it. */
	if (!wanted && (history->decided & HISTORY_IGNORED || state & HISTORY_PAIR))
		return 0;
	if (aftermath && entered->operation == OPERATION_CONNECT)
		tell(history, EVENT_AFTERMATH, sock, peer, entered, result, true, false);
	if (!(history->decided & HISTORY_HANDED_OVER)) {
		overtaken = note(history, entered->operation, 0, 0, result, 0, now);
		if (!overtaken)
			return 0;
	}
	tell(history, wanted ? overtaken : EVENT_UNSELECTED, sock, peer, entered, result, true, false);
	return 0;
}

/* A connect that failed: there is no connection that it could be kept of. */
static __always_inline int refused(struct pending *entered, u64 sock, s64 result)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (pid == TRACER_PID)
		return 0;
	if (SELECTED_BY & ~match_user(pid))
		return 0;
	if (COMM_GLOBS && match_current() != FOUND_SELECTED)
		return 0;
	if (PATH_GLOBS && !is_path_selected(entered->address, entered->address_length))
		return 0;
	entered->end = bpf_ktime_get_ns();
	/*
	 * How many wait for the listener is asked when it is looked at: now. Who has listened at a
	 * path that is not there is known later as well, and many programs try what need not be.
	 */
	tell(NULL, 0, sock, 0, entered, result, true, !STREAMING && (result == -EAGAIN || result == -ECONNREFUSED));
	return 0;
}

static __always_inline int ended(struct pending *entered, s64 result, bool with_address)
{
	u64 sock = LOAD(u64, entered->socket + OFFSET(socket, sk));
	u64 other;

	if (!with_address) {
		if (entered->operation != OPERATION_SOCKETPAIR)
			return transferred(entered, sock, result);
		if (result)
			return 0;
		other = LOAD(u64, entered->address + OFFSET(socket, sk));
		begun(entered, sock, typed_unix_peer(sock), HISTORY_CLIENT | HISTORY_PAIR, result);
		return begun(entered, other, typed_unix_peer(other), HISTORY_SERVER | HISTORY_PAIR, result);
	}
	if (entered->operation == OPERATION_CONNECT)
		return result ? refused(entered, sock, result) : begun(entered, sock, typed_unix_peer(sock), HISTORY_CLIENT, result);
	return result ? 0 : begun(entered, sock, typed_unix_peer(sock), HISTORY_SERVER, result);
}

static __always_inline int shut_down(u64 sock, s32 how)
{
	u64 now = bpf_ktime_get_ns();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct history *history = history_of(sock, key_of(sock), 0, now, false);
	s32 result = how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : 0;
	u32 overtaken = 0;

	is_aftermath(pid_tgid, now);
	if (!history || history->decided & HISTORY_EXCLUDED)
		return 0;
	if (history->holder != pid_tgid)
		remember_user(history, pid_tgid, true);
	if (history->decided & HISTORY_EXCLUDED)
		return 0;
	if (!(history->decided & HISTORY_HANDED_OVER)) {
		if (!result && how != SHUT_WR)
			history->state |= HISTORY_ENDED_RECEIVING;
		if (!result && how != SHUT_RD)
			history->state |= HISTORY_ENDED_SENDING;
		overtaken = note(history, OPERATION_SHUTDOWN, how, 0, result, LOAD(u8, sock + OFFSET(sock, sk_shutdown)), now);
		if (!overtaken)
			return 0;
	}
	if (is_wanted(history, sock))
		tell_entry(history, overtaken, OPERATION_SHUTDOWN, sock, how, result, now, NULL, false);
	return 0;
}

/*
 * Whether the other end has been released, and had not read all. What a read has no room for is
 * dropped, and not left. Of an end that was not seen beginning nobody knows how much it read.
 */
static __always_inline bool has_left(struct history *history, struct history *other)
{
	/* Without a branch, of which the verifier would follow each. */
	u32 begun = other->state | (other->release_flags & EVENT_EMBRYO) * (HISTORY_BEGUN / EVENT_EMBRYO);

	return other->state & HISTORY_RELEASED &&
	       (other->unread_messages ||
		(history->state & begun & HISTORY_BEGUN && history->type == SOCK_STREAM &&
		 history->written_bytes > other->read_bytes));
}

/* Nothing more is kept of an end that nobody looks at, nor of the other one if that was released before. */
static __always_inline void free_excluded(struct history *history)
{
	struct history *other = peer_history(history);

	if (other && other->state & HISTORY_RELEASED)
		free_history(other->key);
	free_history(history->key);
}

/* How an endpoint was released, as long as nobody is told yet; returns what note() does. */
static __always_inline u32 note_release(struct history *history, struct history *other, u64 sock, struct unread *unread,
					bool embryo, u64 now)
{
	u64 task = current_task();
	struct caller caller = {};
	struct exited *exited;
	u32 pid;

	find_caller(&caller, task, OPERATION_RELEASE);
	if (embryo)
		caller.flags |= EVENT_EMBRYO;
	caller.flags |= unread->flags;
	history->unread_messages = unread->messages;
	history->unread_bytes = unread->bytes;
	history->error = LOAD(u32, sock + OFFSET(sock, sk_err));
	history->syscall = caller.syscall;
	history->descriptor = caller.descriptor;
	history->exit_code = caller.exit_code;
	if (caller.flags & EVENT_KERNEL_THREAD) {
		/* An end that nobody used is counted under who made it: the first of the 3 USERS, if that is not this one. No branch. */
		history->user = USERS >> 2 * (history->users_kept - 1);
		pid = history->owner_pid;
		exited = exits.lookup(&pid);
		if (pid && exited && exited->time >= history->last_use) {
			caller.flags |= EVENT_OWNER_EXITED;
			history->exit_code = exited->exit_code;
			if (exited->with_sender) {
				history->sender = exited->sender;
				caller.flags |= EVENT_SENDER;
			}
		}
	} else {
		history->owner_pid = 0;
		if (caller.flags & EVENT_EXITING &&
		    find_sender(&history->sender, task, bpf_get_current_pid_tgid() >> 32, caller.exit_code))
			caller.flags |= EVENT_SENDER;
	}
	if (!(history->state & HISTORY_BEGUN)) {
		/* Which end is whose is asked of those whose beginning was not seen. */
		if (sock_bound(sock))
			caller.flags |= EVENT_BOUND;
		if (sock_bound(history->peer))
			caller.flags |= EVENT_PEER_BOUND;
	}
	if (other ? other->state & HISTORY_RELEASED : peer_is_dead(sock))
		caller.flags |= EVENT_PEER_DEAD;
	history->release_flags = caller.flags;
	note(history, OPERATION_RELEASE, history->error, 0, 0, LOAD(u8, sock + OFFSET(sock, sk_shutdown)), now);
	history->state |= HISTORY_RELEASED;
	keep_order(history);
	return overtaken_by_now(history);
}

static __always_inline int released(u64 sock, struct unread *unread, bool embryo)
{
	u64 now = bpf_ktime_get_ns();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 key = key_of(sock);
	struct history *history = history_of(sock, key, embryo ? HISTORY_SERVER : 0, now, false);
	struct history *other;
	u32 error, users, overtaken = 0;
	bool hurt = false, latent = false, wanted, over, told;

	is_aftermath(pid_tgid, now);
	/* No peer: a listener, or a socket that was never connected. */
	if (!history)
		return 0;
	/* A thread that is here is not inside another function with a connection. */
	count_left_behind(pid_tgid);
	if (history->decided & HISTORY_EXCLUDED) {
		free_excluded(history);
		return 0;
	}
	users = history->users_seen;
	remember_user(history, pid_tgid, false);
	/* Without a branch, as above. */
	unread->flags |= (history->users_seen - users) * EVENT_FIRST_USE;
	/* Before it is known whether that matters, while the verifier has little else to remember. */
	wanted = is_wanted(history, sock);
	other = peer_history(history);
	error = LOAD(u32, sock + OFFSET(sock, sk_err));
	if (other) {
		/* An error had been left with it and is gone: somebody was told by getsockopt(2) or recvmmsg(2). */
		hurt = other->state & HISTORY_RELEASED && !error && !embryo &&
		       (other->unread_messages || other->release_flags & EVENT_EMBRYO);
		latent = has_left(history, other);
	}
	if (history->state & HISTORY_UNTOLD)
		hurt = true;
	if (history->decided & HISTORY_HANDED_OVER)
		hurt = latent = false;
	if (hurt && wanted)
		hand_over(history, sock, BPF_RB_FORCE_WAKEUP);
	over = other ? other->state & HISTORY_RELEASED : peer_is_dead(sock);
	told = history->decided & HISTORY_HANDED_OVER;
	if (!told) {
		overtaken = note_release(history, other, sock, unread, embryo, now);
		told = overtaken;
		/* Whoever handed it over may have ended it as well, and another connection begun in its place. */
		if (told && !is_of(history, sock))
			return 0;
	}
	if (told) {
		if (wanted)
			tell_entry(history, overtaken, OPERATION_RELEASE, sock, 0, 0, now, unread, embryo);
		history->state |= HISTORY_RELEASED;
		/* Both ends at once, on two cpus: each has seen the other one open. */
		keep_order(history);
		if (other && other->state & HISTORY_RELEASED)
			over = true;
		if (!STREAMING)
			await_aftermath(now);
	} else {
		/* Both ends at once, on two cpus: each has seen the other one open. */
		if (!over && other && other->state & HISTORY_RELEASED && is_of(history, sock)) {
			over = is_first_to_end(history->connection);
			latent = has_left(history, other);
		}
		/* Names are in what is counted. Also of those that they do not select it says who has listened. */
		if (over && !(history->decided & HISTORY_HANDED_OVER) && !(history->state & HISTORY_UNTOLD) && !missing_user(history)) {
			if (latent && wanted && tell_latent(now))
				hand_over(history, sock, BPF_RB_NO_WAKEUP);
			else
				count_ended(history, sock, latent, now);
		}
	}
	if (over) {
		u64 peers = peer_key(history);

		/* Whoever finds them before they begin anew takes them for nobody's. */
		history->sock = 0;
		if (other)
			other->sock = 0;
		free_history(key);
		free_history(peers);
	}
	return 0;
}

/* ---- the programs ----------------------------------------------------------- */

/*
 * The arguments of the functions whose end is looked at. Where no fexit program sees them,
 * they are remembered when the function is entered.
 */
#ifdef PROBES_FENTRY
#define AT_END(name, operation_of, arguments, with_address)                \
	int exit_##name##_##arguments(CONTEXT *ctx)                        \
	{                                                                  \
		struct pending entered = {.operation = operation_of};      \
                                                                           \
		name##_arguments(ctx, &entered);                           \
		if (STREAMING)                                             \
			entered.start = began();                           \
		return ended(&entered, (s32)ctx[arguments], with_address); \
	}
#define AT_START(name, operation)      \
	int enter_##name(CONTEXT *ctx) \
	{                              \
		enter(operation);      \
		return 0;              \
	}
#else
#define AT_END(name, operation, arguments, with_address)
#define AT_START(name, operation)                           \
	int enter_##name(CONTEXT *ctx)                      \
	{                                                   \
		struct pending *entered = enter(operation); \
                                                            \
		if (entered)                                \
			name##_arguments(ctx, entered);     \
		return 0;                                   \
	}
#endif

/* int unix_stream_sendmsg(struct socket *, struct msghdr *, size_t); seqpacket alike */
static __always_inline void sendmsg_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->size = ARGUMENT(3);
#ifdef PROBES_FENTRY
	entered->message_flags = LOAD(u32, ARGUMENT(2) + OFFSET(msghdr, msg_flags));
#else
	entered->message = ARGUMENT(2);
#endif
}
AT_START(sendmsg, OPERATION_WRITE)
AT_END(sendmsg, OPERATION_WRITE, 3, false)

/*
 * ssize_t unix_stream_sendpage(struct socket *, struct page *, int, size_t, int flags):
 * sendfile and splice, until MSG_SPLICE_PAGES sent them through sendmsg.
 */
static __always_inline void sendpage_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->size = ARGUMENT(4);
	entered->message_flags = ARGUMENT(5);
}
AT_START(sendpage, OPERATION_WRITE)
AT_END(sendpage, OPERATION_WRITE, 5, false)

/* int unix_stream_recvmsg(struct socket *, struct msghdr *, size_t, int flags); seqpacket alike */
static __always_inline void recvmsg_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->size = ARGUMENT(3);
	entered->message_flags = ARGUMENT(4);
}
AT_START(recvmsg, OPERATION_READ)
AT_END(recvmsg, OPERATION_READ, 4, false)

/*
 * ssize_t unix_stream_splice_read(struct socket *, loff_t *, struct pipe_inode_info *,
 * size_t, unsigned int): its flags are SPLICE_F_*, not MSG_*.
 */
static __always_inline void splice_read_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->size = ARGUMENT(4);
}
AT_START(splice_read, OPERATION_READ)
AT_END(splice_read, OPERATION_READ, 5, false)

/* int unix_stream_connect(struct socket *, struct sockaddr *, int length, int flags) */
static __always_inline void connect_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->address = ARGUMENT(2);
	entered->address_length = ARGUMENT(3);
}
AT_START(connect, OPERATION_CONNECT)
AT_END(connect, OPERATION_CONNECT, 4, true)

/*
 * int unix_accept(struct socket *, struct socket *new, ...): what follows differs
 * between kernels and is not looked at.
 */
static __always_inline void accept_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(2);
}
AT_START(accept, OPERATION_ACCEPT)
AT_END(accept, OPERATION_ACCEPT, 3, true)
AT_END(accept, OPERATION_ACCEPT, 4, true)

/* int unix_socketpair(struct socket *, struct socket *) */
static __always_inline void socketpair_arguments(CONTEXT *ctx, struct pending *entered)
{
	entered->socket = ARGUMENT(1);
	entered->address = ARGUMENT(2);
}
AT_START(socketpair, OPERATION_SOCKETPAIR)
AT_END(socketpair, OPERATION_SOCKETPAIR, 2, false)

#ifndef PROBES_FENTRY
/* with_address is constant: a program writes one kind of record. */
static __always_inline int finish(s64 result, bool with_address)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pending *found = find_pending(tid);
	struct pending entered;

	/* Not found: entered before the probes were attached, or counted by enter(). */
	if (!found)
		return 0;
	/* The verifier knows what stands on the stack. */
	entered = *found;
	end_pending(found, tid);
	/* Of a write that sent everything they do not matter to what is kept. */
	if (entered.message && (STREAMING || result < entered.size))
		entered.message_flags = read_u32(entered.message + OFFSET(msghdr, msg_flags));
	return ended(&entered, result, with_address);
}

LEAVE_PROBES
#endif

/* int unix_shutdown(struct socket *, int how): fails for nothing but another "how" */
int enter_shutdown(CONTEXT *ctx)
{
	return shut_down(LOAD(u64, ARGUMENT(1) + OFFSET(socket, sk)), ARGUMENT(2));
}

/* void unix_release_sock(struct sock *, int embrion): the receive queue has not been purged */
int enter_release(CONTEXT *ctx)
{
	u64 sock = ARGUMENT(1);
	struct unread unread = {};

	/* First, while the verifier has little else to remember. */
	find_unread(&unread, sock);
	return released(sock, &unread, (s32)ARGUMENT(2));
}

/* int commit_creds(struct cred *new): for setuid(2) and its family, capset, prctl, keyctl, unshare, setns and execve */
int enter_credentials(CONTEXT *ctx)
{
	return committed(ARGUMENT(1));
}
