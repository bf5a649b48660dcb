/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first bytes that a task has read or written, out of its own memory when the call has
 * ended: where they are is in what it gave to its system call. So it is not known of what has
 * none of its own (io_uring, sendfile, splice), of 32-bit ones, and of sendmmsg and recvmmsg,
 * which have many messages.
 */
#ifndef HANGUP_PAYLOAD_H
#define HANGUP_PAYLOAD_H

#include "kernel.h"
#include "operation.h"
#include "record.h"

/* So many parts of it are looked at. */
#define VECTORS_MAX 8

/* How much room there is for them: as little as will do, for what is written may be one byte. */
#define SMALL_ROOM 64
#define MIDDLE_ROOM 512

/* struct iovec, include/uapi/linux/uio.h */
struct user_vector {
	u64 base;
	u64 length;
};

/* Of struct user_msghdr, include/linux/socket.h; what stands before these two is an address, and its length. */
struct user_vectors {
	u64 first;
	u64 count;
};

#define USER_MSGHDR_VECTORS 16

/* Where a task's bytes are: one part, or if count is not 0 parts that a table in its memory tells of. */
struct user_buffer {
	struct user_vector one;
	struct user_vectors vectors;
};

/* barrier_var(), tools/lib/bpf/bpf_helpers.h: what is compared next is the register that is used then. */
#define barrier_var(value) asm volatile("" : "+r"(value))

/*
 * For how many bytes of a read or write there is to be room in its record; 0: none are recorded. Of
 * what failed to be written they are those that were asked for; what failed to be read is nothing.
 */
static __always_inline u64 room_for(struct pending *entered, s64 result)
{
	u64 bytes = result;

	if (!SNAPLEN)
		return 0;
	if (result < 0)
		bytes = entered->operation == OPERATION_WRITE ? entered->size : 0;
	if (!bytes)
		return 0;
	if (SNAPLEN > SMALL_ROOM && bytes <= SMALL_ROOM)
		return SMALL_ROOM;
	if (SNAPLEN > MIDDLE_ROOM && bytes <= MIDDLE_ROOM)
		return MIDDLE_ROOM;
	return SNAPLEN;
}

/*
 * Whether the task is in a call on this socket: fdget(), fs/file.c. It may be in one on another
 * descriptor, in which the kernel sends something of its own (xprtsock, nbd).
 */
static __always_inline bool is_called_on(u64 task, u32 descriptor, u64 inode)
{
	u64 table = read_u64(TASK_LOAD(u64, task + OFFSET(task_struct, files)) + OFFSET(files_struct, fdt));
	u64 file;

	if (descriptor >= read_u32(table + OFFSET(fdtable, max_fds)))
		return false;
	file = read_u64(read_u64(table + OFFSET(fdtable, fd)) + descriptor * sizeof(u64));
	return file && inode && read_u64(file + OFFSET(file, f_inode)) == inode;
}

/* Returns whether it is known. */
static __always_inline bool find_buffer(struct user_buffer *buffer, u64 task, s32 syscall)
{
	u64 registers = task_registers(task);
	u64 second = TASK_LOAD(u64, registers + OFFSET(pt_regs, si));
	u64 third = TASK_LOAD(u64, registers + OFFSET(pt_regs, dx));

	if (syscall == NR_read || syscall == NR_write || syscall == NR_sendto || syscall == NR_recvfrom) {
		buffer->one.base = second;
		buffer->one.length = third;
		return true;
	}
	if (syscall == NR_readv || syscall == NR_writev || syscall == NR_preadv2 || syscall == NR_pwritev2) {
		buffer->vectors.first = second;
		buffer->vectors.count = third;
		return third;
	}
	if (syscall == NR_sendmsg || syscall == NR_recvmsg)
		return !bpf_probe_read_user(&buffer->vectors, sizeof(buffer->vectors),
					    (void *)(second + USER_MSGHDR_VECTORS)) &&
		       buffer->vectors.count;
	return false;
}

/* Behind a read or a write that is recorded, its first bytes; nothing, where they are not known. */
static __always_inline void fill_payload(struct operation_with_payload *record, u64 room)
{
	struct operation *operation = &record->base.operation;
	struct user_buffer buffer = {};
	u64 task = current_task();
	u64 bytes = operation->result < 0 ? operation->size : operation->result;
	u64 filled = 0;
	u32 i;

	if (record->base.record.flags & (EVENT_COMPAT | EVENT_IO_URING | EVENT_KERNEL_THREAD))
		return;
	if (bytes > room)
		bytes = room;
	if (!is_called_on(task, operation->descriptor, operation->inode) ||
	    !find_buffer(&buffer, task, operation->syscall))
		return;
#pragma clang loop unroll(disable)
	for (i = 0; i < VECTORS_MAX; i++) {
		struct user_vector part = buffer.one;
		u64 length;

		barrier_var(filled);
		if (filled >= bytes || filled >= room)
			break;
		if (buffer.vectors.count) {
			if (i >= buffer.vectors.count ||
			    bpf_probe_read_user(&part, sizeof(part), (void *)(buffer.vectors.first + i * sizeof(part))))
				break;
		} else if (i) {
			break;
		}
		length = part.length;
		if (length > bytes - filled)
			length = bytes - filled;
		barrier_var(length);
		if (length > room)
			length = room;
		if (bpf_probe_read_user(record->payload + filled, length, (void *)part.base))
			break;
		filled += length;
	}
	barrier_var(filled);
	if (!filled || filled > room)
		return;
	fill_up(record->payload + filled);
	record->section.type = SECTION_PAYLOAD;
	record->section.length = filled;
	record->section.unused = 0;
	record->base.record.length += sizeof(record->section) + ((filled + 7) & ~7ULL);
}

#endif /* HANGUP_PAYLOAD_H */
