/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first bytes that a task has read or written, out of its own memory: where they are is
 * in what it gave to its system call. So it is not known of what has none of its own (io_uring,
 * sendfile, splice), of 32-bit ones, and of sendmmsg and recvmmsg, which have many messages.
 */
#ifndef HANGUP_PAYLOAD_H
#define HANGUP_PAYLOAD_H

#include "kernel.h"
#include "operation.h"
#include "record.h"

/* So many parts of it are looked at. */
#define VECTORS_MAX 8

/* struct iovec, include/uapi/linux/uio.h */
struct user_vector {
	u64 base;
	u64 length;
};

/* struct user_msghdr, include/linux/socket.h: what stands before these two is another address, and its length. */
struct user_vectors {
	u64 first;
	u64 count;
};

#define USER_MSGHDR_VECTORS 16

/* What is compared next is what is used then: the verifier knows nothing of another register with the same value. */
#define known(value) asm volatile("" : "+r"(value))

/* Where a task's bytes are: one part, or if count is not 0 parts that a table in its memory tells of. */
struct user_buffer {
	struct user_vector one;
	struct user_vectors vectors;
};

static __always_inline void find_buffer(struct user_buffer *buffer, s32 syscall)
{
	u64 registers = task_registers(current_task());
	u64 second = TASK_LOAD(u64, registers + OFFSET(pt_regs, si));
	u64 third = TASK_LOAD(u64, registers + OFFSET(pt_regs, dx));

	if (syscall == NR_read || syscall == NR_write || syscall == NR_sendto || syscall == NR_recvfrom) {
		buffer->one.base = second;
		buffer->one.length = third;
	} else if (syscall == NR_readv || syscall == NR_writev || syscall == NR_preadv2 || syscall == NR_pwritev2) {
		buffer->vectors.first = second;
		buffer->vectors.count = third;
	} else if (syscall == NR_sendmsg || syscall == NR_recvmsg) {
		bpf_probe_read_user(&buffer->vectors, sizeof(buffer->vectors), (void *)(second + USER_MSGHDR_VECTORS));
	}
}

/* Behind a read or a write that is recorded, its first bytes; nothing, where they are not known. */
static __always_inline void fill_data(struct operation_with_data *record)
{
	struct operation *operation = &record->base.operation;
	struct user_buffer buffer = {};
	/* Of what failed those that were asked for: a read has none then. */
	u64 bytes = operation->result;
	u64 filled = 0;
	u32 i;

	if (record->base.record.flags & (EVENT_COMPAT | EVENT_IO_URING | EVENT_KERNEL_THREAD))
		return;
	if (operation->result < 0)
		bytes = operation->operation == OPERATION_WRITE ? operation->size : 0;
	if (bytes > SNAPLEN)
		bytes = SNAPLEN;
	find_buffer(&buffer, operation->syscall);
#pragma clang loop unroll(disable)
	for (i = 0; i < VECTORS_MAX; i++) {
		struct user_vector part = buffer.one;
		u64 length;

		known(filled);
		if (filled >= bytes || filled >= SNAPLEN)
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
		known(length);
		if (length > SNAPLEN)
			length = SNAPLEN;
		if (bpf_probe_read_user(record->data + filled, length, (void *)part.base))
			break;
		filled += length;
	}
	if (!filled)
		return;
	record->section.type = SECTION_DATA;
	record->section.length = filled;
	record->section.unused = 0;
	record->base.record.length += sizeof(record->section) + ((filled + 7) & ~7ULL);
}

#endif /* HANGUP_PAYLOAD_H */
