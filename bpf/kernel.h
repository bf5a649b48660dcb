/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the probes read kernel structures without kernel headers.
 *
 * OFFSET(type, member) is a macro that the loader defines from the running
 * kernel's BTF; the loader finds what to define by reading these sources, so a
 * member is named where it is used and nowhere else. SIZE(type), in bytes, and
 * ENUMERATOR(enum, name) are of the same BTF; HAS_MEMBER and HAS_HELPER are 0 or
 * 1, from there too.
 */
#ifndef HANGUP_KERNEL_H
#define HANGUP_KERNEL_H

#define OFFSET(type, member) OFFSET_##type##__##member
#define SIZE(type) SIZE_##type
#define ENUMERATOR(type, name) ENUMERATOR_##type##__##name
#define HAS_MEMBER(type, member) HAS_MEMBER_##type##__##member
#define HAS_HELPER(helper) HAS_HELPER_##helper

/*
 * A number that is known only when a program is loaded, so that the compiled ones fit
 * every run: the loader puts it in (tracer/kernel/compiled.py, RunValue). A kernel takes no
 * program in which it is missing, for 15 is nothing that a 64-bit load may refer to.
 */
#define RUN_VALUE(number) bpf_pseudo_fd(15, number)
#define TRACER_PID RUN_VALUE(1)
/* How many buckets the table of histories has, less one: it is a power of two. */
#define BUCKET_MASK RUN_VALUE(2)
/* 1: each operation is a record; 0: it is kept in the endpoint's history. */
#define STREAMING RUN_VALUE(3)
/* How many words the globs take that comms, and paths, are matched with (bpf/names.h); 0: they are not looked at. */
#define COMM_GLOBS RUN_VALUE(4)
#define PATH_GLOBS RUN_VALUE(5)
/* 1: what has no path is not selected. */
#define NEEDS_PATH RUN_VALUE(6)
/* Of HISTORY_PID_SELECTED, HISTORY_UID_SELECTED and HISTORY_CGROUP_SELECTED those that have to hold. */
#define SELECTED_BY RUN_VALUE(7)
/* How many cgroups are selected. */
#define SELECTED_CGROUPS RUN_VALUE(8)
/* 1: paths select connections; 0: only connects that fail, of which many are of no use to anybody. */
#define PATHS_DECIDE RUN_VALUE(9)
/* Of what is read or written so many bytes are recorded, each time (bpf/payload.h); 0: none. */
#define SNAPLEN RUN_VALUE(10)
/* After so many records of its own, less one, a cpu wakes the reader at the latest: it is a power of two. */
#define WAKE_MASK RUN_VALUE(11)

/* The address of a map, of which nobody can say where it is: tracer/kernel/compiled.py knows the one that is meant. */
#define SOME_MAP bpf_pseudo_fd(14, 0)

/* include/linux/sched.h; the values have not changed since 5.1. */
#define PF_EXITING 0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
/* arch/x86/include/asm/thread_info.h */
#define TS_COMPAT 0x0002
/* arch/x86/include/asm/page_64_types.h: KASAN doubles the stacks and gives tasks a member. */
#define THREAD_SIZE (16384UL << HAS_MEMBER(task_struct, kasan_depth))
/* include/net/sock.h, enum sock_flags */
#define SOCK_DEAD 0
/* include/linux/net.h, enum sock_type */
#define SOCK_STREAM 1
#define SOCK_SEQPACKET 5
/* include/linux/net.h, enum sock_shutdown_cmd */
#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2

/* include/net/sock.h: of sk_shutdown */
#define SEND_SHUTDOWN 2

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_read 0
#define NR_write 1
#define NR_close 3
#define NR_readv 19
#define NR_writev 20
#define NR_dup2 33
#define NR_sendto 44
#define NR_recvfrom 45
#define NR_sendmsg 46
#define NR_recvmsg 47
#define NR_socketpair 53
#define NR_splice 275
#define NR_dup3 292
#define NR_preadv2 327
#define NR_pwritev2 328
#define NR_io_uring_enter 426

/* barrier(), include/linux/compiler.h */
#define barrier() asm volatile("" ::: "memory")

static __always_inline u64 read_u64(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u32 read_u32(u64 address)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u16 read_u16(u64 address)
{
	u16 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u8 read_u8(u64 address)
{
	u8 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/*
 * Loads from what the verifier knows the type of: the arguments of a fentry or fexit
 * program, what they point to, and the current task. They are one instruction where a
 * helper takes eighty; a kprobe has addresses without types.
 */
#ifdef PROBES_FENTRY
#define LOAD(type, address) (*(type *)(address))
#else
#define LOAD(type, address) read_##type(address)
#endif
#if HAS_HELPER(task_pt_regs)
#define TASK_LOAD(type, address) (*(type *)(address))
static __always_inline u64 current_task(void)
{
	return (u64)bpf_get_current_task_btf();
}
#else
#define TASK_LOAD(type, address) read_##type(address)
static __always_inline u64 current_task(void)
{
	return bpf_get_current_task();
}
#endif

/* The same of a peer, of which the verifier knows the type if a helper gave it. */
#if defined(PROBES_FENTRY) && HAS_HELPER(skc_to_unix_sock)
#define PEER_IS_TYPED 1
#define PEER_LOAD(type, address) (*(type *)(address))
#else
#define PEER_IS_TYPED 0
#define PEER_LOAD(type, address) read_##type(address)
#endif

/* unix_peer(), include/net/af_unix.h */
static __always_inline u64 unix_peer(u64 sock)
{
	return read_u64(sock + OFFSET(unix_sock, peer));
}

/* SOCK_INODE(), include/net/sock.h: of a struct socket; 0 of none, as before accept and after the release. */
static __always_inline u64 inode_of(u64 socket)
{
	return socket ? socket + (OFFSET(socket_alloc, vfs_inode) - OFFSET(socket_alloc, socket)) : 0;
}

/*
 * pid_nr_ns() for the namespace that a struct pid was made in, its innermost one
 * (ns_of_pid()): what the process itself gets from getpid(2).
 */
static __always_inline u32 pid_inner_number(u64 pid, u32 level)
{
	return read_u32(pid + OFFSET(pid, numbers) + level * SIZE(upid) + OFFSET(upid, nr));
}

/*
 * The same of a socket whose type the verifier knows: it is cheaper then. The peer is a
 * member of what only a helper makes of a struct sock.
 */
static __always_inline u64 typed_unix_peer(u64 sock)
{
#if PEER_IS_TYPED
	u64 unix_sock = (u64)bpf_skc_to_unix_sock((void *)sock);

	return unix_sock ? LOAD(u64, unix_sock + OFFSET(unix_sock, peer)) : 0;
#else
	return unix_peer(sock);
#endif
}

/* sock_flag(sk, SOCK_DEAD), include/net/sock.h; skc_flags is sk_flags */
static __always_inline bool typed_dead(u64 peer)
{
	return PEER_LOAD(u64, peer + OFFSET(sock_common, skc_flags)) & (1ULL << SOCK_DEAD);
}

static __always_inline bool peer_is_dead(u64 sock)
{
	u64 peer = typed_unix_peer(sock);

	return peer && typed_dead(peer);
}

static __always_inline void find_inode(__u64 *inode, __u64 *number, u64 sock)
{
	u64 socket = LOAD(u64, sock + OFFSET(sock, sk_socket));

	*inode = inode_of(socket);
	*number = *inode ? read_u64(*inode + OFFSET(inode, i_ino)) : 0;
}

/* pid_nr() of sk_peer_pid: the number in the initial pid namespace */
static __always_inline u32 typed_peer_pid(u64 sock)
{
	u64 pid = LOAD(u64, sock + OFFSET(sock, sk_peer_pid));

	return pid ? LOAD(u32, pid + OFFSET(pid, numbers) + OFFSET(upid, nr)) : 0;
}

/* The name of a task's process: its thread group leader's (/proc/PID/comm). */
static __always_inline void read_leader_comm(char *comm, u64 task)
{
	bpf_probe_read_kernel(comm, 16, (void *)(read_u64(task + OFFSET(task_struct, group_leader)) + OFFSET(task_struct, comm)));
}

#endif /* HANGUP_KERNEL_H */
