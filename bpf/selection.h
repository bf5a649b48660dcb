/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which connections are wanted, while every operation is recorded.
 */
#ifndef HANGUP_SELECTION_H
#define HANGUP_SELECTION_H

#include "kernel.h"
#include "losses.h"
#include "record.h"

#define SOCKETS_MAX 65536

/* What a socket is to us; values of the "sockets" map. */
#define SOCKET_SELECTED 1
#define SOCKET_EXCLUDED 2

/* The loader makes it as large as it has to be. */
BPF_HASH(selected_pids, u32, u8, 1);

static __always_inline bool pid_selected(u32 pid)
{
	return selected_pids.lookup(&pid) != NULL;
}

#if !RECORDING

BPF_HASH(sockets, u64, u32, SOCKETS_MAX);

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

#endif

#endif /* HANGUP_SELECTION_H */
