/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a name of a process or a socket's path matches the globs that it is selected, or
 * ignored, by. All of them are looked at together: each symbol of a glob has a bit, which
 * is set while the name may be there in the glob (shift-and; tracer/kernel/globs.py makes
 * the tables). What a byte means is in the tables and not in branches, each of which the
 * verifier would follow.
 */
#ifndef HANGUP_NAMES_H
#define HANGUP_NAMES_H

#include "kernel.h"
#include "operation.h"

/* With two the verifier follows a million instructions of a connect that streams (6.1). */
#define GLOB_WORDS 1

/* What is found of a name. */
#define FOUND_SELECTED 1
#define FOUND_IGNORED 2

/* Globs with 64 symbols together. Bit 63 of the first ones is set when a name is not plain: its spelling is Python's matter. */
struct globs {
	u64 start;
	u64 stay;               /* at a "*", and where a glob has matched */
	u64 selected;
	u64 ignored;
	u64 symbols[256];       /* which symbols a byte matches; 0 ends a name */
};

/* Of comms, and behind them of paths. */
BPF_ARRAY(globs, struct globs, 2 * GLOB_WORDS);

static __always_inline u64 step(struct globs *table, u64 at, u64 byte)
{
	return (at & table->symbols[byte & 255]) << 1 | (at & table->stay);
}

/* Eight bytes, the lowest first. */
static __always_inline u64 steps(struct globs *table, u64 at, u64 bytes)
{
	int i;

#pragma unroll
	for (i = 0; i < 64; i += 8)
		at = step(table, at, bytes >> i);
	return at;
}

static __always_inline u32 end_match(struct globs *table, u64 at)
{
	at = step(table, at, 0);
	/* When in doubt it is selected: Python looks at all that comes. */
	if (at >> 63)
		return FOUND_SELECTED;
	return (at & table->selected ? FOUND_SELECTED : 0) | (at & table->ignored ? FOUND_IGNORED : 0);
}

/* The lowest bit that is set is of the first byte that is 0; none is set if no byte is. */
static __always_inline u64 zero_bytes(u64 bytes)
{
	return (bytes - 0x0101010101010101ULL) & ~bytes & 0x8080808080808080ULL;
}

/* With zeros behind the first byte that is 0. */
static __always_inline u64 until_zero(u64 bytes)
{
	u64 zeros = zero_bytes(bytes);

	return bytes & ((zeros & -zeros) - 1);
}

/* A task's comm: 16 bytes, behind whose end anything may stand (strlcpy() in __set_task_comm(), before 5.17). */
static __always_inline u32 match_comm(u64 comm)
{
	u64 name[2] = {};
	struct globs *table;
	u32 found = 0, i;
	u64 at;

	bpf_probe_read_kernel(name, sizeof(name), (void *)comm);
	if (zero_bytes(name[0]))
		name[1] = 0;
	name[0] = until_zero(name[0]);
	name[1] = until_zero(name[1]);
#pragma clang loop unroll(disable)
	for (i = 0; i < COMM_GLOBS; i++) {
		u32 place = i;

		table = globs.lookup(&place);
		if (!table)
			return FOUND_SELECTED;
		at = steps(table, table->start, name[0]);
		at = steps(table, at, name[1]);
		found |= end_match(table, at);
	}
	return found;
}

/* Where the name of who is here stands: the thread's, or its process's. */
static __always_inline u64 current_comm(bool of_leader)
{
	u64 task = current_task();

	if (of_leader)
		task = TASK_LOAD(u64, task + OFFSET(task_struct, group_leader));
	return task + OFFSET(task_struct, comm);
}

/* A socket's name: sun_path of unix(7), and of how many bytes. */
static __always_inline u32 match_path_once(struct globs *table, u64 name, s32 left)
{
	bool abstract = !read_u8(name);
	u64 at = table->start;
	u64 bytes, known, zeros;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < ADDRESS_MAX; i += 8) {
		if (left <= 0)
			break;
		if (bpf_probe_read_kernel(&bytes, sizeof(bytes), (void *)(name + i)))
			return FOUND_SELECTED;
		known = left < 8 ? ~0ULL >> ((64 - 8 * left) & 63) : ~0ULL;
		left -= 8;
		bytes &= known;
		if (abstract) {
			/* It is written with an @ in the place of its first byte. Another 0 is spelled otherwise. */
			if (!i)
				bytes |= '@';
			if (zero_bytes(bytes | ~known))
				return FOUND_SELECTED;
		} else {
			/* A file whose name begins with an @ is spelled otherwise. */
			if (!i && (bytes & 255) == '@')
				return FOUND_SELECTED;
			zeros = zero_bytes(bytes);
			bytes = until_zero(bytes);
			if (zeros)
				left = 0;
		}
		at = steps(table, at, bytes);
	}
	return end_match(table, at);
}

/* Of a struct sockaddr_un and its length; 0: the socket has no name. */
static __always_inline bool is_path_selected(u64 name, u32 length)
{
	struct globs *table;
	u32 found = 0, i;
	s32 left;

	if (length <= sizeof(u16))
		return !NEEDS_PATH;
	left = length - sizeof(u16);
	if (left > ADDRESS_MAX)
		left = ADDRESS_MAX;
#pragma clang loop unroll(disable)
	for (i = 0; i < PATH_GLOBS; i++) {
		u32 place = GLOB_WORDS + i;

		table = globs.lookup(&place);
		if (!table)
			return true;
		found |= match_path_once(table, name + sizeof(u16), left);
	}
	return found == FOUND_SELECTED;
}

#endif /* HANGUP_NAMES_H */
