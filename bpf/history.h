/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is kept of each endpoint while nothing goes wrong: who used it, how much it read
 * and wrote, whose turn it is, its first operations and its last ones. A connection is
 * handed over, as one record, when an operation shows that somebody was hurt; from then
 * on each of its operations is a record of its own. One that ends well is counted.
 *
 * The table is a set-associative array: nothing is allocated and nothing deleted, and a
 * look-up costs the same however many connections are open.
 */
#ifndef HANGUP_HISTORY_H
#define HANGUP_HISTORY_H

#include "kernel.h"
#include "losses.h"
#include "names.h"
#include "operation.h"
#include "record.h"

#define WAYS 4
/* So many rows are looked at for one that has the same names, or none. */
#define COUNTED_LOOKS 8
#define COUNTED_WORDS ((sizeof(struct counted) - __builtin_offsetof(struct counted, client)) / 8)
/* Of those that left something unread, and hurt nobody, so many are handed over in a second. */
#define LATENT_A_SECOND 64
/* What a thread does so soon after it released an end of a failed connection belongs to the story. */
#define AFTERMATH_NS 100000000ULL
#define AFTERMATHS 1024
#define ENDED_AT_ONCE 1024

/* recv(2): the bytes stay in the queue. send(2): it does not wait for room. */
#define MSG_PEEK 2
#define MSG_DONTWAIT 0x40
/* recv(2): it waits for all that it asks for, or the end. */
#define MSG_WAITALL 0x100

/* What is decided of both ends at once. */
#define HISTORY_DECIDED                                                          \
	(HISTORY_PID_SELECTED | HISTORY_UID_SELECTED | HISTORY_CGROUP_SELECTED | \
	 HISTORY_NAMED | HISTORY_PATH_SELECTED | HISTORY_IGNORED | HISTORY_EXCLUDED)

struct bucket {
	u64 keys[WAYS];         /* 0: none */
};

struct latent_budget {
	u64 second;
	u64 used;
};

/* A thread whose next operation tells what a failure cost. */
struct awaited {
	u64 until;
	u32 tid;
	u32 unused;
};

/* The loader makes them as large as they have to be. */
BPF_HASH(selected_pids, u32, u8, 1);
BPF_HASH(selected_uids, u32, u8, 1);
BPF_CGROUP_ARRAY(selected_cgroups, 1);

/*
 * The loader makes these as large as they have to be; a bucket has WAYS histories. The
 * buckets are mapped by the reader, who counts their keys.
 */
BPF_F_TABLE("array", u32, struct bucket, buckets, 1, BPF_F_MMAPABLE);
BPF_ARRAY(histories, struct history, 1);
BPF_PERCPU_ARRAY(numbers, u64, 1);
/* Mapped by the reader, as the losses are. */
BPF_F_TABLE("array", u32, struct counted, counted, COUNTED_ROWS, BPF_F_MMAPABLE);
/* Which of its rows somebody writes the names of: only one can insert it. */
BPF_HASH(claimed, u32, u8, COUNTED_ROWS);
/* Connections whose ends were released at once: whoever inserts it ends it. */
BPF_TABLE("lru_hash", u64, u8, ended_at_once, ENDED_AT_ONCE);
BPF_ARRAY(latent_budget, struct latent_budget, 1);
BPF_ARRAY(aftermaths, struct awaited, AFTERMATHS);

/* So many cgroups are remembered as seen. */
#define CGROUPS_SEEN 4096

BPF_TABLE("lru_hash", u64, u8, cgroups_seen, CGROUPS_SEEN);

struct user_record {
	struct record record;
	struct section section;
	struct user user;
};

struct history_record {
	struct record record;
	struct section one_section;
	struct history one;
	struct section other_section;
	struct history other;
	struct section address_section;
	char address[128];
};

/*
 * What an endpoint is found by. The verifier lets nobody calculate with a typed pointer,
 * but the difference of two pointers is a number to it (adjust_reg_min_max_vals()).
 */
static __always_inline u64 key_of(u64 sock)
{
#ifdef PROBES_FENTRY
	u64 key = sock, map = SOME_MAP;

	asm volatile("%0 -= %1" : "+r"(key) : "r"(map));
	return key;
#else
	return sock;
#endif
}

static __always_inline u64 peer_key(struct history *history)
{
	return history->key + (history->peer - history->sock);
}

static __always_inline u32 bucket_of(u64 key)
{
	/* hash_64(), include/linux/hash.h */
	return ((key * 0x61C8864680B583EBULL) >> 32) & BUCKET_MASK;
}

static __always_inline struct history *find_history(u64 key)
{
	u32 number = bucket_of(key);
	struct bucket *bucket = buckets.lookup(&number);
	u32 index = number * WAYS;

	if (!bucket)
		return NULL;
	if (bucket->keys[0] != key) {
		if (bucket->keys[1] == key)
			index += 1;
		else if (bucket->keys[2] == key)
			index += 2;
		else if (bucket->keys[3] == key)
			index += 3;
		else
			return NULL;
	}
	return histories.lookup(&index);
}

static __always_inline void free_history(u64 key)
{
	u32 number = bucket_of(key);
	struct bucket *bucket = buckets.lookup(&number);

	if (!bucket)
		return;
	if (bucket->keys[0] == key)
		bucket->keys[0] = 0;
	else if (bucket->keys[1] == key)
		bucket->keys[1] = 0;
	else if (bucket->keys[2] == key)
		bucket->keys[2] = 0;
	else if (bucket->keys[3] == key)
		bucket->keys[3] = 0;
}

static __always_inline u64 last_use_of(u32 index)
{
	struct history *history = histories.lookup(&index);

	if (!history)
		return 0;
	/* What is released waits for its other end, and may go before anything that lives. */
	return history->state & HISTORY_RELEASED ? history->last_use >> 1 : history->last_use;
}

/* Finds room: a free place, else that of whoever has not been used for longest. */
static __always_inline struct history *take_history(u64 key)
{
	u32 number = bucket_of(key);
	struct bucket *bucket = buckets.lookup(&number);
	u32 way = 0, index = number * WAYS;
	struct history *given_up;
	u64 oldest, use;

	if (!bucket)
		return NULL;
	if (bucket->keys[0] == key || !bucket->keys[0]) {
		way = 0;
	} else if (bucket->keys[1] == key || !bucket->keys[1]) {
		way = 1;
	} else if (bucket->keys[2] == key || !bucket->keys[2]) {
		way = 2;
	} else if (bucket->keys[3] == key || !bucket->keys[3]) {
		way = 3;
	} else {
		oldest = last_use_of(index);
		use = last_use_of(index + 1);
		if (use < oldest) {
			oldest = use;
			way = 1;
		}
		use = last_use_of(index + 2);
		if (use < oldest) {
			oldest = use;
			way = 2;
		}
		use = last_use_of(index + 3);
		if (use < oldest)
			way = 3;
		index += way;
		given_up = histories.lookup(&index);
		/* While each operation is recorded, what it had done is known, but not for whom it was selected. */
		if (given_up && (!STREAMING || SELECTED_BY) && !(given_up->decided & HISTORY_EXCLUDED))
			count_since(LOSS_HISTORY_GIVEN_UP, given_up->start);
		index -= way;
	}
	if (way == 0)
		bucket->keys[0] = key;
	else if (way == 1)
		bucket->keys[1] = key;
	else if (way == 2)
		bucket->keys[2] = key;
	else
		bucket->keys[3] = key;
	index += way;
	return histories.lookup(&index);
}

/* Unique, and small: cpus take turns. */
static __always_inline u64 next_number(void)
{
	u32 zero = 0;
	u64 *number = numbers.lookup(&zero);

	if (!number)
		return 0;
	*number += 1;
	return *number * CPUS + bpf_get_smp_processor_id() + 1 - CPUS;
}

/*
 * Whether a history is this endpoint's, and whether its peer is the one that it was. The
 * compiler must not take the one for the other after that: nobody may calculate with a
 * typed pointer.
 */
static __always_inline bool is_of(struct history *history, u64 sock)
{
	u64 known = history->sock;

	asm volatile("" : "+r"(known));
	return known == sock;
}

static __always_inline bool has_peer(struct history *history, u64 peer)
{
	u64 known = history->peer;

	asm volatile("" : "+r"(known));
	return known == peer;
}

/* What was written stands before what is read from here on: only a locked operation says so to x86. */
static __always_inline void keep_order(struct history *history)
{
	u32 nothing = 0;

	asm volatile("" : "+r"(nothing));
	__sync_fetch_and_add(&history->entered, nothing);
}

/* Both ends: our own output, whose reader would never come to an end. */
static __always_inline void exclude(struct history *history, struct history *other)
{
	history->decided |= HISTORY_EXCLUDED;
	if (other)
		other->decided |= HISTORY_EXCLUDED;
}

/* The peer of an endpoint that has it in its history, with its type where that is to be had. */
static __always_inline u64 known_peer(struct history *history, u64 sock)
{
#if PEER_IS_TYPED
	return typed_unix_peer(sock);
#else
	return history->peer;
#endif
}

/* Of both ends. */
static __always_inline void decide(struct history *history, struct history *other, u32 decided)
{
	history->decided |= decided;
	if (other)
		other->decided |= decided;
}

static __always_inline u32 match_pid(u32 pid)
{
	return SELECTED_BY & HISTORY_PID_SELECTED && selected_pids.lookup(&pid) ? HISTORY_PID_SELECTED : 0;
}

/*
 * Which of the conditions on whoever uses an end hold for who is here. Not by
 * bpf_get_current_ancestor_cgroup_id(): tracing programs got it later than
 * bpf_current_task_under_cgroup() (bpf_tracing_func_proto()), which sees the cgroups below one, too.
 */
static __always_inline u32 match_user(u32 pid)
{
	u32 found = match_pid(pid);
	u32 uid = bpf_get_current_uid_gid();
	u32 i;

	if (SELECTED_BY & HISTORY_UID_SELECTED && selected_uids.lookup(&uid))
		found |= HISTORY_UID_SELECTED;
#pragma clang loop unroll(disable)
	for (i = 0; i < SELECTED_CGROUPS; i++) {
		if (selected_cgroups.check_current_task(i) == 1)
			found |= HISTORY_CGROUP_SELECTED;
	}
	return found;
}

/* What whoever is here decides about both ends. */
static __always_inline void decide_by_user(struct history *history, struct history *other)
{
	if (SELECTED_BY & ~history->decided)
		decide(history, other, match_user(bpf_get_current_pid_tgid() >> 32));
}

/* What is kept of an end from here on. Costs some reads: once an endpoint. */
static __always_inline struct history *begin_history(u64 sock, u64 key, u64 peer, u32 state, u64 now)
{
	struct history *history = take_history(key);
	struct history *other;

	if (!history)
		return NULL;
	__builtin_memset(history, 0, __builtin_offsetof(struct history, users));
	history->sock = sock;
	history->key = key;
	history->peer = peer;
	find_inode(&history->inode, &history->inode_number, sock);
	history->start = now;
	history->last_use = now;
	history->state = state;
	history->type = LOAD(u16, sock + OFFSET(sock, sk_type));
	history->opener_pid = typed_peer_pid(sock);
	other = find_history(peer_key(history));
	if (STREAMING)
		history->decided |= HISTORY_HANDED_OVER;
	if (other && other->sock == peer && other->peer == history->sock) {
		history->connection = other->connection;
		history->decided |= other->decided;
	} else {
		other = NULL;
		/* Who had it before is for Python to say: an inventory may know. */
		if (COMM_GLOBS && !(state & HISTORY_BEGUN))
			history->decided |= HISTORY_NAMED;
	}
	if (SELECTED_BY)
		decide(history, other, match_pid(history->opener_pid));
	/*
	 * Whoever connects to us is seen before we accept: sk_peer_pid is then who called
	 * listen (copy_peercred()).
	 */
	if (history->opener_pid == TRACER_PID)
		exclude(history, other);
	/* There is none, or it is beginning on another cpu and has no number yet. */
	if (!history->connection)
		history->connection = next_number();
	return history;
}

static __always_inline struct history *peer_history(struct history *history)
{
	struct history *other = find_history(peer_key(history));

	if (!other)
		return NULL;
	if (other->sock != history->peer || other->peer != history->sock)
		other = NULL;
	/* So that it is this pointer that is compared later on, and not the addresses once more. */
	asm volatile("" : "+r"(other));
	return other;
}

/* What is found of the names of whoever is here: the thread's, and its process's. */
static __always_inline u32 match_current(void)
{
	u32 found = 0;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 2; i++)
		found |= match_comm(current_comm(i));
	return found;
}

/* What the name of a user decides about both ends. */
static __always_inline void decide_by_name(struct history *history, struct history *other)
{
	u32 found = match_current();

	if (found)
		decide(history, other, found & FOUND_IGNORED ? HISTORY_IGNORED : HISTORY_NAMED);
}

/* Whose address names the connection is the server's, which it has of its listener; a client seldom binds itself. */
static __always_inline bool is_history_path_selected(struct history *history, u64 sock)
{
	u64 own = read_u64(sock + OFFSET(unix_sock, addr));
	u64 others = read_u64(history->peer + OFFSET(unix_sock, addr));
	u64 bound = own ? own : others;

	if (history->state & HISTORY_PAIR && bound)
		return true;
	if (history->state & HISTORY_SERVER)
		bound = own;
	else if (history->state & HISTORY_CLIENT)
		bound = others;
	else if (own && others)
		return true;
	return is_path_selected(bound + OFFSET(unix_address, name), bound ? read_u32(bound + OFFSET(unix_address, len)) : 0);
}

/*
 * Whether names and paths select a connection, for all that is known now: another user may
 * select it later. A path is known once, and what is ignored stays so.
 */
static __always_inline bool is_named(struct history *history, struct history *other, u64 sock)
{
	if (PATHS_DECIDE && !(history->decided & (HISTORY_PATH_SELECTED | HISTORY_IGNORED)))
		decide(history, other, is_history_path_selected(history, sock) ? HISTORY_PATH_SELECTED : HISTORY_IGNORED);
	if (COMM_GLOBS && !(history->decided & HISTORY_IGNORED))
		decide_by_name(history, other);
	return !(history->decided & HISTORY_IGNORED) && (!COMM_GLOBS || history->decided & HISTORY_NAMED);
}

/* Whether a task is still called, and the user's, as when it was first seen. */
static __always_inline bool is_unchanged(struct user *user, u64 *comm, u32 uid)
{
	u64 *known = (u64 *)user->comm;
	u64 difference = user->uid ^ uid;
	int i;

#pragma unroll
	for (i = 0; i < 2; i++) {
		/* Without branches, as in same_names(). */
		asm volatile("" : "+r"(difference));
		difference |= known[i] ^ comm[i];
	}
	asm volatile("" : "+r"(difference));
	return !difference;
}

/*
 * Whose process has an io_uring may leave an end to it alone; then a kernel thread drops the last
 * reference, and it is this that says whose it was. What an io worker does, or the thread that
 * polls the ring (create_io_thread()), is its process's; up to 5.11 they are of none.
 */
static __always_inline void remember_owner(struct history *history, u32 pid)
{
#if HAS_MEMBER(task_struct, io_uring)
	u64 task = current_task();
	u64 place = history->user;
	u64 sock = history->sock;
	struct owner owner = {
		.inode_number = history->inode_number,
		.pid = pid,
	};

	asm volatile("" : "+r"(place));
	if (place >= USERS)
		return;
	if (!TASK_LOAD(u64, task + OFFSET(task_struct, io_uring)) &&
	    (TASK_LOAD(u32, task + OFFSET(task_struct, flags)) & (PF_IO_WORKER | PF_KTHREAD)) != PF_IO_WORKER)
		return;
	history->owner_pid = pid;
	owner.time = bpf_ktime_get_ns();
	__builtin_memcpy(owner.leader, history->users[place].leader, sizeof(owner.leader));
	owners.update(&sock, &owner);
#endif
}

/*
 * Another task than before uses an endpoint, or one releases it. by_name: what its name
 * decides is not asked otherwise. At a release, where it is not, a task that has another name
 * or real user id by now (execve(2), prctl(2), setuid(2)) is another user.
 */
static __always_inline void remember_user(struct history *history, u64 pid_tgid, bool by_name)
{
	u64 task = current_task();
	u32 pid = pid_tgid >> 32, tid = pid_tgid;
	u64 uid_gid, place;
	u64 comm[2] = {};
	struct user *user;
	u32 uid = 0;

	history->holder = pid_tgid;
	if (pid == TRACER_PID) {
		exclude(history, peer_history(history));
		return;
	}
	if (SELECTED_BY)
		decide_by_user(history, peer_history(history));
	if (!by_name) {
		bpf_get_current_comm(comm, sizeof(comm));
		uid = bpf_get_current_uid_gid();
	}
	if (history->users_kept > 0 && history->users[0].tid == tid && history->users[0].pid == pid &&
	    (by_name || is_unchanged(&history->users[0], comm, uid))) {
		history->user = 0;
		history->number = history->numbers[0];
		return;
	}
	if (history->users_kept > 1 && history->users[1].tid == tid && history->users[1].pid == pid &&
	    (by_name || is_unchanged(&history->users[1], comm, uid))) {
		history->user = 1;
		history->number = history->numbers[1];
		return;
	}
	if (history->users_kept > 2 && history->users[2].tid == tid && history->users[2].pid == pid &&
	    (by_name || is_unchanged(&history->users[2], comm, uid))) {
		history->user = 2;
		history->number = history->numbers[2];
		return;
	}
	place = history->users_kept;
	if (place < USERS) {
		history->users_kept = place + 1;
	} else {
		/* The first one stays, and the last one. */
		place = history->user == 1 ? 2 : 1;
		history->state |= HISTORY_USERS_LOST;
	}
	asm volatile("" : "+r"(place));
	if (place >= USERS)
		return;
	user = &history->users[place];
	history->user = place;
	history->number = history->users_seen;
	history->numbers[place] = history->number;
	if (history->users_seen < USER_LOST)
		history->users_seen += 1;
	uid_gid = bpf_get_current_uid_gid();
	user->cgroup = bpf_get_current_cgroup_id();
	user->pid = pid;
	user->tid = tid;
	user->uid = uid_gid;
	user->gid = uid_gid >> 32;
	find_inner_pid(&user->inner_pid, &user->inner_tid, task, pid_tgid);
	fill_comms(user->comm, user->leader, task, pid_tgid);
	if (by_name && COMM_GLOBS)
		decide_by_name(history, peer_history(history));
	/* Who releases it has it no longer. */
	if (by_name)
		remember_owner(history, pid);
}

/*
 * Whoever comes from a cgroup that nobody was seen in is told of while that is there: when a
 * container's process hangs up, its container often goes as well.
 */
static __always_inline void introduce(struct history *history, u64 now)
{
	u64 place = history->user;
	struct user_record *record;
	struct user *user;
	u64 cgroup;
	u8 seen = 1;

	asm volatile("" : "+r"(place));
	if (place >= USERS)
		return;
	user = &history->users[place];
	cgroup = user->cgroup;
	if (cgroups_seen.lookup(&cgroup))
		return;
	record = ring.ringbuf_reserve(sizeof(struct user_record));
	/* Then somebody else's first connection may tell it. */
	if (!record)
		return;
	cgroups_seen.update(&cgroup, &seen);
	record->record.length = sizeof(*record);
	record->record.type = RECORD_USER;
	record->record.flags = 0;
	record->record.time = now;
	record->record.connection = 0;
	record->section.type = SECTION_USER;
	record->section.length = sizeof(record->user);
	record->section.unused = 0;
	bpf_probe_read_kernel(&record->user, sizeof(record->user), user);
	ring.ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
}

/* EVENT_OVERTAKEN if a connection was handed over by now, else 0; without a branch. */
static __always_inline u32 overtaken_by_now(struct history *history)
{
	return (history->decided & HISTORY_HANDED_OVER) * (EVENT_OVERTAKEN / HISTORY_HANDED_OVER);
}

/*
 * Keeps what has ended. Whoever handed the connection over meanwhile may not have seen that:
 * what is returned is not 0 then, and it is to be told as well, with that flag.
 */
static __always_inline u32 note(struct history *history, u8 operation, u32 size, u32 message_flags, s32 result,
				u8 shutdown, u64 now)
{
	u64 before = history->operations, place = before;
	struct moment *moment;

	/* First: who is overtaken by another one at this place is seen to be missing, whenever it is copied. */
	__sync_fetch_and_add(&history->entered, 1);
	if (operation == OPERATION_READ || operation == OPERATION_WRITE || !place)
		history->transferred_by = history->user;
	history->last_use = now;
	if (place >= FIRST_MOMENTS)
		place = FIRST_MOMENTS + ((place - FIRST_MOMENTS) & (LAST_MOMENTS - 1));
	/* So that the verifier sees the bound on the very register that is used. */
	asm volatile("" : "+r"(place));
	if (place >= FIRST_MOMENTS + LAST_MOMENTS)
		return 0;
	moment = &history->moments[place];
	moment->end = now;
	moment->result = result;
	moment->size = size;
	moment->message_flags = message_flags;
	moment->operation = operation;
	moment->user = history->number;
	moment->shutdown = shutdown;
	/* Whoever copies it sees no operation counted that is not there yet: x86 keeps the order of stores. */
	barrier();
	history->operations = before + 1;
	/* It stands before it is looked whether it was copied. */
	keep_order(history);
	return overtaken_by_now(history);
}

/* It sent something: with that its turn goes on, or the next one begins (Endpoint.wrote() in tracer/story). */
static __always_inline void wrote(struct history *history, s64 result, u64 now)
{
	struct history *other;

	if (history->heard & HEARD_SINCE || !history->turns) {
		other = peer_history(history);
		if (!history->turns || !other || other->turn_start > history->turn_start) {
			history->turns += 1;
			history->turn_start = now;
			history->turn_bytes = 0;
			history->heard = other && history->read_bytes > other->written_bytes ? HEARD_EARLY : 0;
		}
	}
	history->turn_bytes += result;
	history->last_write = now;
	__sync_fetch_and_add(&history->written_bytes, result);
	__sync_fetch_and_add(&history->writes, 1);
}

/*
 * Whether a reader that meets the end of the stream may have been owed something. Sure
 * is only that no such reader is left out; what it was is for the reader of the records.
 */
static __always_inline bool may_be_cut(struct history *history)
{
	struct history *other = peer_history(history);
	bool asked = history->turns && !(history->state & (HISTORY_SERVER | HISTORY_PAIR));

	if (!other || history->state & HISTORY_ENDED_RECEIVING)
		return false;
	if (other->state & HISTORY_RELEASED) {
		if (other->unread_messages)
			return true;
		/* Of a socketpair either end may be the one that asks. */
		if (other->exit_code && history->turns &&
		    (history->state & (HISTORY_SERVER | HISTORY_PAIR)) != HISTORY_SERVER)
			return true;
	} else if (!(other->state & HISTORY_ENDED_SENDING)) {
		return false;
	}
	/*
	 * An answer is a turn that began later. What was read after it may have been asked, too; and
	 * what ended later, and had been read of before, began earlier.
	 */
	return asked && (!other->turns || other->turn_start <= history->turn_start || other->heard & HEARD_SINCE ||
			 history->heard & HEARD_EARLY);
}

static __always_inline void await_aftermath(u64 now)
{
	u32 tid = bpf_get_current_pid_tgid();
	u32 place = tid & (AFTERMATHS - 1);
	struct awaited *awaited = aftermaths.lookup(&place);

	if (!awaited)
		return;
	awaited->tid = tid;
	awaited->until = now + AFTERMATH_NS;
}

/* Whether this is the next operation of a thread for which that is waited. */
static __always_inline bool is_aftermath(u32 tid, u64 now)
{
	u32 place = tid & (AFTERMATHS - 1);
	struct awaited *awaited = aftermaths.lookup(&place);

	if (!awaited || awaited->tid != tid)
		return false;
	awaited->tid = 0;
	return now < awaited->until;
}

/*
 * Both ends' histories as one record, before anything else of this connection is one.
 * Whether there was room for it: if not, it is tried again when the end is released.
 */
static __always_inline bool hand_over(struct history *history, u64 sock, u64 wake)
{
	struct history *other = peer_history(history);
	struct history_record *record;
	u64 peer = history->peer;
	u32 length;

	record = ring.ringbuf_reserve(sizeof(struct history_record));
	if (!record) {
		count(LOSS_RING_FULL);
		history->state |= HISTORY_UNTOLD;
		return false;
	}
	/* Not before it has its place: what is recorded of this connection from now on stands behind it. */
	decide(history, other, HISTORY_HANDED_OVER);
	/* If both ends began at once each may have a number of its own: from here on they have one. */
	if (other)
		other->connection = history->connection;
	/* Who does not see that by now has kept what he did: then it is copied. */
	keep_order(history);
	record->record.length = sizeof(*record) - sizeof(record->address);
	record->record.type = RECORD_HISTORY;
	record->record.flags = 0;
	record->record.time = bpf_ktime_get_ns();
	record->record.connection = history->connection;
	record->one_section.type = SECTION_HISTORY;
	record->one_section.length = sizeof(record->one);
	record->one_section.unused = 0;
	bpf_probe_read_kernel(&record->one, sizeof(record->one), history);
	record->other_section.type = SECTION_HISTORY;
	record->other_section.length = sizeof(record->other);
	record->other_section.unused = 0;
	if (other)
		bpf_probe_read_kernel(&record->other, sizeof(record->other), other);
	else
		record->other.sock = 0;
	/* The server's end has an address, its listener's; a client seldom binds itself. */
	if (history->state & HISTORY_SERVER)
		length = read_bound_address(record->address, sock);
	else
		length = read_bound_address(record->address, peer);
	if (!length && !(history->state & (HISTORY_CLIENT | HISTORY_SERVER)))
		length = read_bound_address(record->address, sock);
	record->address_section.type = SECTION_ADDRESS;
	record->address_section.length = length;
	record->address_section.unused = 0;
	record->record.length += (length + 7) & ~7U;
	ring.ringbuf_submit(record, wake);
	return true;
}

static __always_inline bool same_names(struct counted *one, struct counted *other)
{
	u64 *words = (u64 *)one->client, *others = (u64 *)other->client;
	u64 difference = 0;
	int i;

#pragma unroll
	for (i = 0; i < COUNTED_WORDS; i++) {
		difference |= words[i] ^ others[i];
		/* Else clang 19 compares each with a branch, and the verifier follows all that they may come to. */
		asm volatile("" : "+r"(difference));
	}
	return !difference;
}

static __always_inline struct counted *counted_row(struct counted *key, u64 now)
{
	u64 *words = (u64 *)key->client;
	u64 hash = 0;
	u32 place, zero = 0;
	struct counted *row;
	u8 mine = 1;
	int i;

#pragma unroll
	for (i = 0; i < COUNTED_WORDS; i++)
		hash = (hash ^ words[i]) * 0x61C8864680B583EBULL;
#pragma clang loop unroll(disable)
	for (i = 0; i < COUNTED_LOOKS; i++) {
		place = ((hash >> 32) + i) & (COUNTED_ROWS - 1);
		row = place ? counted.lookup(&place) : NULL;
		if (!row)
			continue;
		if (row->ready) {
			if (same_names(row, key))
				return row;
			continue;
		}
		if (claimed.insert(&place, &mine))
			break;
		__builtin_memcpy(row->client, key->client, COUNTED_WORDS * 8);
		/* The names stand before it is said that they do: x86 keeps the order of stores. */
		barrier();
		row->ready = now;
		return row;
	}
	return counted.lookup(&zero);
}

static __always_inline void count_ended(struct history *history, u64 sock, bool latent, u64 now)
{
	struct history *other = peer_history(history);
	struct history *client = history, *server = other;
	struct counted key = {};
	struct counted *row;
	u64 operations = history->entered + (other ? other->entered : 0);
	u64 listened = history->peer, place;
	bool is_server = history->state & HISTORY_SERVER;

	if (other && !(history->state & HISTORY_CLIENT) && !(other->state & HISTORY_SERVER))
		/* Nobody saw how it began: the first one seen is the client's. */
		is_server = is_server || other->state & HISTORY_CLIENT || other->start < history->start;
	if (is_server) {
		client = other;
		server = history;
		listened = sock;
	}
	if (client) {
		place = client->transferred_by;
		asm volatile("" : "+r"(place));
		if (place < USERS)
			__builtin_memcpy(key.client, client->users[place].leader, sizeof(key.client));
	}
	if (server) {
		place = server->transferred_by;
		asm volatile("" : "+r"(place));
		if (place < USERS)
			__builtin_memcpy(key.server, server->users[place].leader, sizeof(key.server));
	}
	key.pair = (history->state & HISTORY_PAIR) != 0;
	key.latent = latent;
	if (!key.pair)
		key.path_length = read_bound_address(key.path, listened);
	row = counted_row(&key, now);
	/* Of a connection that nobody selected it is kept that somebody has listened. */
	if (!row || (COMM_GLOBS && (history->decided & (HISTORY_NAMED | HISTORY_IGNORED)) != HISTORY_NAMED))
		return;
	__sync_fetch_and_add(&row->connections, 1);
	__sync_fetch_and_add(&row->operations, operations);
}

static __always_inline bool is_first_to_end(u64 connection)
{
	u8 mine = 1;

	return !ended_at_once.insert(&connection, &mine);
}

/* Whether one more latent hang-up is told in full in this second. */
static __always_inline bool tell_latent(u64 now)
{
	u32 zero = 0;
	u64 second = now >> 30;
	struct latent_budget *budget = latent_budget.lookup(&zero);

	if (!budget)
		return false;
	if (budget->second != second) {
		budget->second = second;
		budget->used = 0;
	}
	if (budget->used >= LATENT_A_SECOND)
		return false;
	budget->used += 1;
	return true;
}

#endif /* HANGUP_HISTORY_H */
