/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who a process is, when that changes: its user and group ids and its effective
 * capabilities, which it gets by commit_creds(), and by execve(2) another program and name.
 */
#ifndef HANGUP_IDENTITY_H
#define HANGUP_IDENTITY_H

#include "kernel.h"
#include "losses.h"
#include "operation.h"
#include "record.h"

/* So many threads may be inside execve(2) at a time. Who fails in there is killed, and the oldest go. */
#define EXECUTING_MAX 1024
/* So many descriptors are looked at for a Unix connection, as many as the table of a shell has room for. */
#define DESCRIPTORS_MAX 256

/* include/uapi/linux/stat.h */
#define S_IFMT 0170000
#define S_IFSOCK 0140000
/* include/linux/socket.h */
#define AF_UNIX 1

/* arch/x86/entry/syscalls/syscall_64.tbl, syscall_32.tbl */
#define NR_execve 59
#define NR_execveat 322
#define NR_execve_compat 11
#define NR_execveat_compat 358

/* The record of a change that has no file. */
struct identity_record {
	struct operation_record base;
	struct section section;
	struct identity identity;
};

/* The record of an execve. The room is more than ADDRESS_MAX, as in struct operation_with_address. */
struct identity_with_file {
	struct identity_record base;
	struct section section;
	char file[128];
};

/* Who a thread was when it had begun to execute a program. */
struct executing {
	struct credentials before;
	u32 unused;
	s32 syscall;
	char comm[16];
};

/* By thread. */
BPF_TABLE("lru_hash", u32, struct executing, executing, EXECUTING_MAX);

/* kuid_t and kgid_t are what the initial user namespace calls them; kernel_cap_t has 64 bits, as one word or as two. */
static __always_inline void read_credentials(struct credentials *credentials, u64 cred)
{
	credentials->capabilities = read_u64(cred + OFFSET(cred, cap_effective));
	credentials->uid = read_u32(cred + OFFSET(cred, uid));
	credentials->euid = read_u32(cred + OFFSET(cred, euid));
	credentials->suid = read_u32(cred + OFFSET(cred, suid));
	credentials->fsuid = read_u32(cred + OFFSET(cred, fsuid));
	credentials->gid = read_u32(cred + OFFSET(cred, gid));
	credentials->egid = read_u32(cred + OFFSET(cred, egid));
	credentials->sgid = read_u32(cred + OFFSET(cred, sgid));
	credentials->fsgid = read_u32(cred + OFFSET(cred, fsgid));
}

static __always_inline bool same_credentials(struct credentials *one, struct credentials *other)
{
	return one->capabilities == other->capabilities && one->uid == other->uid && one->euid == other->euid &&
	       one->suid == other->suid && one->fsuid == other->fsuid && one->gid == other->gid &&
	       one->egid == other->egid && one->sgid == other->sgid && one->fsgid == other->fsgid;
}

static __always_inline bool is_execve(struct caller *caller)
{
	if (caller->flags & EVENT_COMPAT)
		return caller->syscall == NR_execve_compat || caller->syscall == NR_execveat_compat;
	return caller->syscall == NR_execve || caller->syscall == NR_execveat;
}

/* Whether an open file is an end of a Unix connection: SOCKET_I(), include/net/sock.h. */
static __always_inline bool is_endpoint(u64 file)
{
	u64 inode = read_u64(file + OFFSET(file, f_inode));
	u64 sock;

	if ((read_u16(inode + OFFSET(inode, i_mode)) & S_IFMT) != S_IFSOCK)
		return false;
	sock = read_u64(inode - OFFSET(socket_alloc, vfs_inode) + OFFSET(socket_alloc, socket) + OFFSET(socket, sk));
	if (read_u16(sock + OFFSET(sock_common, skc_family)) != AF_UNIX)
		return false;
	return is_traced(read_u16(sock + OFFSET(sock, sk_type))) && unix_peer(sock);
}

/* Whether a process has a Unix connection open. Of one with many descriptors nobody looks at all: then it may have. */
static __always_inline bool has_endpoint(u64 task)
{
	u64 table = read_u64(read_u64(task + OFFSET(task_struct, files)) + OFFSET(files_struct, fdt));
	u64 files = read_u64(table + OFFSET(fdtable, fd));
	u64 open_fds = read_u64(table + OFFSET(fdtable, open_fds));
	u32 count = read_u32(table + OFFSET(fdtable, max_fds));
	u64 open = 0;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < DESCRIPTORS_MAX; i++) {
		if (i >= count)
			return false;
		if (!(i & 63))
			open = read_u64(open_fds + i / 8);
		if (open >> (i & 63) & 1 && is_endpoint(read_u64(files + i * sizeof(u64))))
			return true;
	}
	return count > DESCRIPTORS_MAX;
}

/*
 * Whether a change is told. While nothing but what goes wrong is, only that of a process
 * that has a connection: one that has none yet says by its first operation who it is by then.
 */
static __always_inline bool is_change_told(u64 task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (pid == TRACER_PID)
		return false;
	return STREAMING || has_endpoint(task);
}

static __always_inline void fill_identity(struct identity_record *record, u64 task, struct credentials *after, s32 syscall,
					  u32 flags)
{
	struct operation *changed = &record->base.operation;
	u64 pid_tgid = bpf_get_current_pid_tgid();

	__builtin_memset(changed, 0, sizeof(*changed));
	record->base.record.length = sizeof(*record);
	record->base.record.type = RECORD_IDENTITY;
	record->base.record.flags = flags;
	record->base.record.time = bpf_ktime_get_ns();
	record->base.record.connection = 0;
	record->base.section.type = SECTION_OPERATION;
	record->base.section.length = sizeof(*changed);
	record->base.section.unused = 0;
	changed->start = record->base.record.time;
	changed->cgroup = bpf_get_current_cgroup_id();
	changed->pid = pid_tgid >> 32;
	changed->tid = pid_tgid;
	changed->uid = after->uid;
	changed->gid = after->gid;
	changed->syscall = syscall;
	changed->descriptor = -1;
	changed->cpu = bpf_get_smp_processor_id();
	find_inner_pid(&changed->inner_pid, &changed->inner_tid, task, pid_tgid);
	fill_comms(changed->comm, changed->leader, task, pid_tgid);
	record->section.type = SECTION_IDENTITY;
	record->section.length = sizeof(record->identity);
	record->section.unused = 0;
	record->identity.after = *after;
}

/*
 * It changes, but not by execve(2), whose credentials are committed when it has its new name
 * already (begin_new_exec()): that is told as a whole.
 */
static __always_inline int committed(u64 cred)
{
	u64 task = current_task();
	struct credentials before, after;
	struct identity_record *record;
	struct caller caller = {};

	/* Until the function has come to its end they are those of before: commit_creds(), kernel/cred.c. */
	read_credentials(&before, read_u64(task + OFFSET(task_struct, cred)));
	read_credentials(&after, cred);
	if (same_credentials(&before, &after))
		return 0;
	find_caller(&caller, task, 0);
	if (is_execve(&caller) || !is_change_told(task))
		return 0;
	record = ring.ringbuf_reserve(sizeof(struct identity_record));
	if (!record) {
		count(LOSS_RING_FULL);
		return 0;
	}
	fill_identity(record, task, &after, caller.syscall, caller.flags);
	record->identity.before = before;
	__builtin_memcpy(record->identity.comm, record->base.operation.comm, sizeof(record->identity.comm));
	ring.ringbuf_submit(record, wake_flags(0, 0));
	return 0;
}

/*
 * task_rename: (struct task_struct *, const char *comm, ...), called by __set_task_comm()
 * while the task has its old name. In execve(2) it is the first that changes (begin_new_exec()).
 */
int task_renamed(unsigned long long *ctx)
{
	u64 task = current_task();
	struct executing begun = {};
	struct caller caller = {};
	u32 tid = bpf_get_current_pid_tgid();

	find_caller(&caller, task, 0);
	if (!is_execve(&caller))
		return 0;
	read_credentials(&begun.before, read_u64(task + OFFSET(task_struct, cred)));
	/* Of a 32-bit call the name is known, too. */
	begun.syscall = caller.syscall;
	if (caller.flags & EVENT_COMPAT)
		begun.syscall = caller.syscall == NR_execve_compat ? NR_execve : NR_execveat;
	bpf_get_current_comm(begun.comm, sizeof(begun.comm));
	executing.update(&tid, &begun);
	return 0;
}

/*
 * sched_process_exec: (struct task_struct *, pid_t old_pid, struct linux_binprm *), called by
 * exec_binprm() when the program is in place: its descriptors with O_CLOEXEC are closed.
 */
int process_executed(unsigned long long *ctx)
{
	u64 bprm = ctx[2];
	u64 task = current_task();
	u32 tid = bpf_get_current_pid_tgid();
	struct executing *begun = executing.lookup(&tid);
	struct identity_with_file *record;
	struct credentials after;
	u32 length;

	if (!is_change_told(task))
		goto out;
	read_credentials(&after, read_u64(task + OFFSET(task_struct, cred)));
	record = ring.ringbuf_reserve(sizeof(struct identity_with_file));
	if (!record) {
		count(LOSS_RING_FULL);
		goto out;
	}
	fill_identity(&record->base, task, &after, begun ? begun->syscall : NR_execve, 0);
	if (begun) {
		record->base.identity.before = begun->before;
		__builtin_memcpy(record->base.identity.comm, begun->comm, sizeof(begun->comm));
	} else {
		/* A kernel thread that becomes a program (call_usermodehelper_exec_async()), or it began before the probes. */
		record->base.identity.before = after;
		__builtin_memcpy(record->base.identity.comm, record->base.base.operation.comm, sizeof(begun->comm));
	}
	length = bpf_probe_read_kernel_str(record->file, ADDRESS_MAX, (void *)read_u64(bprm + OFFSET(linux_binprm, filename)));
	/* With its end, and of what could not be read nothing. */
	length = length && length <= ADDRESS_MAX ? length - 1 : 0;
	record->section.type = SECTION_FILE;
	record->section.length = length;
	record->section.unused = 0;
	record->base.base.record.length = sizeof(record->base) + sizeof(record->section) + ((length + 7) & ~7U);
	ring.ringbuf_submit(record, wake_flags(0, 0));
out:
	executing.delete(&tid);
	return 0;
}

#endif /* HANGUP_IDENTITY_H */
