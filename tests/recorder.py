"""What the kernel side keeps while it records: bpf/history.h and what bpf/hangup.c does with it, in Python.

It is fed with the events that the other half would have streamed, in the order of their records, and yields the records
that this half writes: RECORD_HISTORY, and RECORD_OPERATION from then on. Names are the C's, and so are the conditions:
what a test says of this model it says of them. Not modelled are the places in the table, which never are too few, and
two cpus at once: a test that wants another order of records makes it of these.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hangup.tracer.kernel.globs import Word, tables_of
from hangup.tracer.record.layout import (
    FIRST_MOMENTS,
    LAST_MOMENTS,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_WAITALL,
    USER_LOST,
    Counted,
    Event,
    EventFlag,
    Handed,
    Heard,
    History,
    HistoryState,
    KeptMoment,
    Operation,
    User,
    pack,
    pack_history,
    pack_moments,
    pack_users,
)
from hangup.tracer.selection import Selection
from tests.stories import SHUT_RD, SHUT_RDWR, SHUT_WR, STREAM

USERS = 3
LATENT_A_SECOND = 64
AFTERMATH_NS = 100_000_000
_SEND_SHUTDOWN = 2
_SENDER_BYTES = 48

CLIENT, SERVER, PAIR, BEGUN = HistoryState.CLIENT, HistoryState.SERVER, HistoryState.PAIR, HistoryState.BEGUN
HANDED_OVER, RELEASED = HistoryState.HANDED_OVER, HistoryState.RELEASED
EXCLUDED = HistoryState.EXCLUDED
PID_SELECTED, UID_SELECTED = HistoryState.PID_SELECTED, HistoryState.UID_SELECTED
CGROUP_SELECTED = HistoryState.CGROUP_SELECTED
NAMED, PATH_SELECTED, IGNORED = HistoryState.NAMED, HistoryState.PATH_SELECTED, HistoryState.IGNORED
DECIDED = PID_SELECTED | UID_SELECTED | CGROUP_SELECTED | NAMED | PATH_SELECTED | IGNORED | EXCLUDED

# bpf/names.h
FOUND_SELECTED, FOUND_IGNORED = 1, 2
ADDRESS_MAX = 108
_ODD_SEEN = 1 << 63


def match_name(words: Iterable[Word], name: bytes) -> int:
    """Return what is found of a name in these tables: step() and end_match()."""
    found = 0
    for word in words:
        at = word.start
        for byte in [*name, 0]:
            at = (at & word.symbols[byte]) << 1 & 0xFFFF_FFFF_FFFF_FFFF | at & word.stay
        if at & _ODD_SEEN:
            found |= FOUND_SELECTED
            continue
        found |= bool(at & word.selected) * FOUND_SELECTED | bool(at & word.ignored) * FOUND_IGNORED
    return found


def match_comm(words: Iterable[Word], comm: bytes) -> int:
    """Return what is found of a task's comm."""
    return match_name(words, comm.split(b"\0", 1)[0])


def is_path_selected(words: Iterable[Word], address: bytes, *, needs_path: bool) -> bool:
    """Return whether a socket with this address is selected by it."""
    if not address:
        return not needs_path
    name = address[:ADDRESS_MAX]
    if name[0] == 0:
        if 0 in name[1:]:
            return True
        name = b"@" + name[1:]
    else:
        if name.startswith(b"@"):
            return True
        name = name.split(b"\0", 1)[0]
    return match_name(words, name) == FOUND_SELECTED


@dataclass
class Kept:
    """struct history."""

    sock: int
    peer: int
    connection: int = 0
    inode: int = 0
    inode_number: int = 0
    start: int = 0
    holder: tuple[int, int] = (0, 0)
    read_bytes: int = 0
    written_bytes: int = 0
    turn_start: int = 0
    turn_bytes: int = 0
    last_use: int = 0
    last_write: int = 0
    unread_bytes: int = 0
    unread_messages: int = 0
    exit_code: int = 0
    owner_pid: int = 0
    syscall: int = 0
    descriptor: int = 0
    error: int = 0
    operations: int = 0
    entered: int = 0
    reads: int = 0
    writes: int = 0
    turns: int = 0
    opener_pid: int = 0
    state: int = 0
    release_flags: int = 0
    type: int = 0
    user: int = 0
    users_kept: int = 0
    users_seen: int = 0
    transferred_by: int = 0
    numbers: bytes = bytes(USERS)
    number: int = 0
    heard: int = 0
    sender: bytes = bytes(_SENDER_BYTES)
    users: list[User] = field(default_factory=list)
    moments: list[KeptMoment] = field(
        default_factory=lambda: [KeptMoment(0, 0, 0, 0, 0, 0, 0, 0)] * (FIRST_MOMENTS + LAST_MOMENTS)
    )

    def copied(self) -> History:
        """Return it as it stands now."""
        fields: dict[str, Any] = {name: getattr(self, name, 0) for name in History._fields}
        pid, tid = self.holder
        return History(
            **fields
            | {
                "key": self.sock,
                "holder": pid << 32 | tid,
                "users": pack_users(self.users),
                "moments": pack_moments(self.moments),
                "state": int(self.state),
                "sender": self.sender,
            }
        )


class Recorder:
    """The kernel side while it is not streaming."""

    def __init__(
        self,
        *,
        selection: Selection | None = None,
        tracer_pid: int = 0,
        entries: bool = False,
        cgroups: Mapping[int, str] | None = None,
    ) -> None:
        """Keep nothing yet. selection: of what there are records. entries: kprobes, which know when one began.

        cgroups: the paths of this host's, by their ids.
        """
        selection = selection or Selection()
        self._selection = selection
        self._cgroups = cgroups or {}
        self._globs = tables_of(selection)
        self._needs_path = bool(selection.paths)
        self._paths_decide = selection.selects_paths
        self._tracer_pid = tracer_pid
        self._entries = entries
        self.histories: dict[int, Kept] = {}
        self.addresses: dict[int, bytes] = {}
        """Of sockets that have an address of their own (unix_sock.addr)."""
        self.io_uring: set[int] = set()
        """The processes that have an io_uring."""
        self._owners: dict[int, Event] = {}
        self._aftermaths: dict[int, int] = {}
        self._number = 0
        self._latent = (-1, 0)
        self.records: list[bytes] = []
        self.no_room = 0
        """For so many histories there is no room in the ring buffer."""
        self._rows: dict[tuple[bytes, bytes, bytes, bool, bool], tuple[int, int, int]] = {}

    def record(self, events: Iterable[Event]) -> list[bytes]:
        """Let these happen; returns the records that they make."""
        before = len(self.records)
        many = list(events)
        self.io_uring |= {event.owner_pid for event in many} | {
            event.pid for event in many if event.flags & EventFlag.IO_URING
        }
        for number, event in enumerate(many):
            if event.flags & EventFlag.EMBRYO and event.sock not in self.addresses:
                # It has its listener's address, though its client's connect has not returned yet.
                self.addresses |= {
                    connect.peer: connect.address
                    for connect in many[number:]
                    if connect.operation == Operation.CONNECT and connect.peer == event.sock
                }
            if event.operation in (Operation.READ, Operation.WRITE):
                self._transferred(event)
            elif event.operation == Operation.SHUTDOWN:
                self._shut_down(event)
            elif event.operation == Operation.RELEASE:
                self._released(event)
            else:
                self._ended(event)
        return self.records[before:]

    def counted(self) -> list[Counted]:
        """Return the rows of connections that ended well, in no order that means anything."""
        return [
            Counted(*counted, client, server, path.ljust(112, b"\0"), len(path), latent, pair, 0, 0)
            for (client, server, path, latent, pair), counted in self._rows.items()
        ]

    # ---- bpf/history.h

    def _begin_history(self, event: Event, sock: int, peer: int, state: int, *, second: bool = False) -> Kept:
        history = self.histories[sock] = Kept(
            sock,
            peer,
            inode=event.peer_inode if second else event.inode,
            # Of a socketpair's second end the event does not say it.
            inode_number=event.inode_number + second,
            start=event.end,
            last_use=event.end,
            state=state,
            type=event.type,
            opener_pid=event.pid if second else event.peer_pid,
        )
        other = self._peer_history(history)
        if other:
            history.connection = other.connection
            history.state |= other.state & (DECIDED | HANDED_OVER)
        else:
            if not state & BEGUN:
                history.state |= NAMED
            self._number += 1
            history.connection = self._number
        if history.opener_pid in self._selection.pids:
            self._decide(history, PID_SELECTED)
        if self._tracer_pid and history.opener_pid == self._tracer_pid:
            self._exclude(history)
        return history

    def _peer_history(self, history: Kept) -> Kept | None:
        other = self.histories.get(history.peer)
        return other if other and other.peer == history.sock else None

    def _exclude(self, history: Kept) -> None:
        other = self._peer_history(history)
        history.state |= EXCLUDED
        if other:
            other.state |= EXCLUDED

    def _remember_user(self, history: Kept, event: Event, *, by_name: bool = True) -> None:
        history.holder = (event.pid, event.tid)
        if self._tracer_pid and event.pid == self._tracer_pid:
            self._exclude(history)
            return
        self._decide(history, self._match_user(event))
        for place, known in enumerate(history.users):
            unchanged = (known.comm, known.uid) == (event.comm, event.uid)
            if (known.pid, known.tid) == (event.pid, event.tid) and (by_name or unchanged):
                history.user = place
                history.number = history.numbers[place]
                return
        place = history.users_kept
        user = User(
            event.cgroup,
            event.pid,
            event.tid,
            event.uid,
            event.gid,
            event.inner_pid,
            event.inner_tid,
            event.comm,
            # Of a kernel thread's release the event has the owner's.
            event.comm if event.owner_pid else event.leader,
        )
        if place < USERS:
            history.users_kept = place + 1
            history.users.append(user)
        else:
            place = 2 if history.user == 1 else 1
            history.state |= HistoryState.USERS_LOST
            history.users[place] = user
        history.user = place
        history.number = history.users_seen if history.users_seen < USER_LOST else USER_LOST
        history.users_seen = min(history.users_seen + 1, USER_LOST)
        history.numbers = history.numbers[:place] + bytes([history.number]) + history.numbers[place + 1 :]
        if by_name and self._globs.comms:
            self._decide_by_name(history, event)
        if by_name:
            self._remember_owner(history, event)

    def _remember_owner(self, history: Kept, event: Event) -> None:
        if event.pid in self.io_uring:
            history.owner_pid = event.pid
            self._owners[history.sock] = event

    @property
    def _selected_by(self) -> int:
        selection = self._selection
        return (
            (PID_SELECTED if selection.pids else 0)
            | (UID_SELECTED if selection.uids else 0)
            | (CGROUP_SELECTED if selection.cgroups else 0)
        )

    def _match_user(self, event: Event) -> int:
        selection = self._selection
        path = self._cgroups.get(event.cgroup)
        return (
            (PID_SELECTED if event.pid in selection.pids else 0)
            | (UID_SELECTED if event.uid in selection.uids else 0)
            | (CGROUP_SELECTED if selection.cgroups and selection.matches_cgroup(path) else 0)
        )

    def _match_current(self, event: Event) -> int:
        # Of a kernel thread's release the event has the owner's.
        leader = event.comm if event.owner_pid else event.leader
        return match_comm(self._globs.comms, event.comm) | match_comm(self._globs.comms, leader)

    def _decide_by_name(self, history: Kept, event: Event) -> None:
        found = self._match_current(event)
        if found:
            self._decide(history, IGNORED if found & FOUND_IGNORED else NAMED)

    def _decide(self, history: Kept, decided: int) -> None:
        for end in (history, self._peer_history(history)):
            if end:
                end.state |= decided

    def _is_history_path_selected(self, history: Kept) -> bool:
        own, others = (self.addresses.get(sock, b"") for sock in (history.sock, history.peer))
        bound = own or others
        if history.state & PAIR and bound:
            return True
        if history.state & SERVER:
            bound = own
        elif history.state & CLIENT:
            bound = others
        elif own and others:
            return True
        return is_path_selected(self._globs.paths, bound, needs_path=self._needs_path)

    def _is_named(self, history: Kept, event: Event) -> bool:
        if self._paths_decide and not history.state & (PATH_SELECTED | IGNORED):
            self._decide(history, PATH_SELECTED if self._is_history_path_selected(history) else IGNORED)
        if self._globs.comms and not history.state & IGNORED:
            self._decide_by_name(history, event)
        return not history.state & IGNORED and (not self._globs.comms or bool(history.state & NAMED))

    def _note(self, history: Kept, event: Event, size: int, result: int, shutdown: int) -> None:
        place = history.operations
        history.entered += 1
        history.operations = place + 1
        history.last_use = event.end
        if place >= FIRST_MOMENTS:
            place = FIRST_MOMENTS + (place - FIRST_MOMENTS & LAST_MOMENTS - 1)
        if event.operation in (Operation.READ, Operation.WRITE) or history.operations == 1:
            history.transferred_by = history.user
        history.moments[place] = KeptMoment(
            event.end, result, size & 0xFFFFFFFF, event.message_flags, event.operation, history.number, shutdown, 0
        )

    def _wrote(self, history: Kept, result: int, now: int) -> None:
        other = self._peer_history(history)
        heard = history.heard & Heard.SINCE and (not other or other.turn_start > history.turn_start)
        if not history.turns or heard:
            history.turns += 1
            history.turn_start = now
            history.turn_bytes = 0
            early = other and history.read_bytes > other.written_bytes
            history.heard = Heard.EARLY if early else 0
        history.turn_bytes += result
        history.last_write = now
        history.written_bytes += result
        history.writes += 1

    def _may_be_cut(self, history: Kept) -> bool:
        other = self._peer_history(history)
        asked = history.turns and not history.state & (SERVER | PAIR)
        if not other or history.state & HistoryState.ENDED_RECEIVING:
            return False
        if other.state & RELEASED:
            if other.unread_messages:
                return True
            # Of a socketpair either end may be the one that asks.
            serves = history.state & (SERVER | PAIR) == SERVER
            if other.exit_code and history.turns and not serves:
                return True
        elif not other.state & HistoryState.ENDED_SENDING:
            return False
        # An answer is a turn that began later, whoever wrote last.
        later = other.turns and other.turn_start > history.turn_start
        return bool(asked and (not later or other.heard & Heard.SINCE or history.heard & Heard.EARLY))

    def _is_aftermath(self, event: Event) -> bool:
        until = self._aftermaths.pop(event.tid, None)
        return until is not None and event.end < until

    def _hand_over(self, history: Kept, event: Event) -> bool:
        other = self._peer_history(history)
        if self.no_room:
            self.no_room -= 1
            history.state |= HistoryState.UNTOLD
            return False
        history.state |= HANDED_OVER
        if other:
            other.state |= HANDED_OVER
        address = self.addresses.get(history.sock if history.state & SERVER else history.peer, b"")
        if not address and not history.state & (CLIENT | SERVER):
            address = self.addresses.get(history.sock, b"")
        handed = Handed(event.end, history.connection, history.copied(), other.copied() if other else None, address)
        self.records.append(pack_history(handed))
        return True

    def _count_ended(self, history: Kept, now: int, *, latent: bool) -> None:
        other = self._peer_history(history)
        client: Kept | None = history
        server = other
        listened = history.peer
        is_server = bool(history.state & SERVER)
        if other and not history.state & CLIENT and not other.state & SERVER:
            is_server = is_server or bool(other.state & CLIENT) or other.start < history.start
        if is_server:
            client, server = other, history
            listened = history.sock
        places = [end.transferred_by if end else 0 for end in (client, server)]
        ends = zip((client, server), places, strict=True)
        names = [end.users[place].leader if end and place < end.users_kept else bytes(16) for end, place in ends]
        pair = bool(history.state & PAIR)
        key = (names[0], names[1], b"" if pair else self.addresses.get(listened, b""), latent, pair)
        first, connections, operations = self._rows.get(key, (now, 0, 0))
        if not self._globs.comms or history.state & (NAMED | IGNORED) == NAMED:
            connections += 1
            operations += history.operations + (other.operations if other else 0)
        self._rows[key] = first, connections, operations

    def _tell_latent(self, now: int) -> bool:
        second, used = self._latent
        if second != now >> 30:
            second, used = now >> 30, 0
        self._latent = second, min(used + 1, LATENT_A_SECOND)
        return used < LATENT_A_SECOND

    # ---- bpf/hangup.c

    def _tell(self, connection: int, flags: int, event: Event, *, with_address: bool = False) -> None:
        address = b""
        if with_address:
            bound = event.sock if event.operation == Operation.ACCEPT else event.peer
            address = self.addresses.get(bound, b"") if bound else event.address
        start = event.start if self._entries else event.end
        if event.flags & EventFlag.IO_URING:
            self._owners[event.sock] = event
        flags |= event.flags
        self.records.append(
            pack(event._replace(flags=flags, connection=connection, start=start, address=address, sender=b""))
        )

    def _tell_entry(self, connection: int, event: Event) -> None:
        told = event._replace(connection=connection, address=b"")
        owner = self._owners.get(event.sock)
        if event.flags & EventFlag.KERNEL_THREAD and (owner is None or owner.pid != event.owner_pid):
            gone = EventFlag.OWNER_EXITED | EventFlag.SENDER
            told = told._replace(flags=told.flags & ~gone, owner_pid=0, exit_code=0, leader=event.comm, sender=b"")
        self.records.append(pack(told))

    def _history_of(self, event: Event, state: int = 0) -> Kept | None:
        history = self.histories.get(event.sock)
        if history and not history.state & RELEASED:
            return history
        return self._begin_history(event, event.sock, event.peer, state) if event.peer else None

    def _missing_user(self, history: Kept) -> int:
        return self._selected_by & ~history.state

    def _is_selected(self, history: Kept, event: Event) -> bool:
        self._decide(history, self._match_user(event))
        return self._is_named(history, event) and not self._missing_user(history)

    def _is_undecided(self, history: Kept) -> bool:
        if history.state & (BEGUN | PAIR) != BEGUN or history.state & (EXCLUDED | IGNORED):
            return False
        other = self._peer_history(history)
        if history.state & CLIENT:
            return not other or not other.state & BEGUN
        return not other and not self._missing_user(history) & HistoryState.PID_SELECTED

    def _is_wanted(self, history: Kept, event: Event) -> bool:
        handed_over = bool(history.state & HANDED_OVER)
        return handed_over or self._is_selected(history, event) or self._is_undecided(history)

    def _hurt(self, history: Kept, event: Event) -> None:
        if event.peer != history.peer:
            history = self._begin_history(event, event.sock, event.peer, 0)
            self._remember_user(history, event)
        if not self._is_wanted(history, event):
            return
        if self._hand_over(history, event):
            self._tell(history.connection, 0, event)
        else:
            self._note(history, event, event.size, event.result, 0)

    def _wanted(self, history: Kept | None, event: Event) -> bool:
        if not history or history.state & EXCLUDED:
            return False
        if history.holder != (event.pid, event.tid):
            self._remember_user(history, event)
        return not history.state & EXCLUDED

    def _transferred(self, event: Event) -> None:
        history = self._history_of(event)
        self._is_aftermath(event)
        if not self._wanted(history, event):
            return
        assert history is not None
        history.last_use = event.end
        if not history.state & HANDED_OVER and event.message_flags & MSG_DONTWAIT and not history.owner_pid:
            self._remember_owner(history, event)
        if history.state & HANDED_OVER:
            self._tell(history.connection, 0, event)
        elif self._hurts(history, event):
            self._hurt(history, event)
        else:
            self._take(history, event)
            self._note(history, event, event.size, event.result, 0)

    def _hurts(self, history: Kept, event: Event) -> bool:
        result = event.result
        if event.operation == Operation.READ:
            at_end = not result or event.message_flags & MSG_WAITALL
            return result == -errno.ECONNRESET or bool(at_end and result < event.size and self._may_be_cut(history))
        waited = not event.message_flags & MSG_DONTWAIT
        cut_short = 0 < result < event.size and waited and event.shutdown & _SEND_SHUTDOWN
        return result in (-errno.EPIPE, -errno.ECONNRESET) or bool(cut_short)

    def _take(self, history: Kept, event: Event) -> None:
        result = event.result
        if result <= 0:
            return
        if event.operation == Operation.WRITE:
            self._wrote(history, result, event.end)
            return
        history.heard |= Heard.SINCE
        if not event.message_flags & MSG_PEEK:
            history.read_bytes += result
            history.reads += 1

    def _begun(self, event: Event, sock: int, peer: int, state: int, *, second: bool = False) -> None:
        aftermath = self._is_aftermath(event)
        early = self.histories.get(sock)
        if early and early.peer == peer and not early.state & (BEGUN | RELEASED):
            # Another thread was faster than the one that returns from connect(2).
            history = early
            history.state |= state | BEGUN
        else:
            history = self._begin_history(event, sock, peer, state | BEGUN, second=second)
        self._remember_user(history, event)
        if history.state & EXCLUDED:
            return
        if second:
            return
        if aftermath and event.operation == Operation.CONNECT:
            self._tell(history.connection, EventFlag.AFTERMATH, event, with_address=True)
        if history.state & HANDED_OVER:
            self._tell(history.connection, 0, event, with_address=True)
        else:
            self._note(history, event, 0, event.result, 0)

    def _ended(self, event: Event) -> None:
        sock, peer = event.sock, event.peer
        if event.operation == Operation.SOCKETPAIR:
            self._begun(event, sock, peer, CLIENT | PAIR)
            self._begun(event, peer, sock, SERVER | PAIR, second=True)
        elif event.operation == Operation.ACCEPT:
            self.addresses[sock] = event.address
            self._begun(event, sock, peer, SERVER)
        elif event.result:
            if (
                event.pid != self._tracer_pid
                and not self._selected_by & ~self._match_user(event)
                and (not self._globs.comms or self._match_current(event) == FOUND_SELECTED)
                and (
                    not self._globs.paths
                    or is_path_selected(self._globs.paths, event.address, needs_path=self._needs_path)
                )
            ):
                self._tell(0, 0, event._replace(peer=0), with_address=True)
        else:
            # The new socket at the listener's end has its address.
            self.addresses[peer] = event.address
            self._begun(event, sock, peer, CLIENT)

    def _shut_down(self, event: Event) -> None:
        history = self._history_of(event)
        self._is_aftermath(event)
        if not self._wanted(history, event):
            return
        assert history is not None
        if history.state & HANDED_OVER:
            self._tell_entry(history.connection, event)
            return
        how = event.size
        result = 0 if SHUT_RD <= how <= SHUT_RDWR else -errno.EINVAL
        if not result and how != SHUT_WR:
            history.state |= HistoryState.ENDED_RECEIVING
        if not result and how != SHUT_RD:
            history.state |= HistoryState.ENDED_SENDING
        self._note(history, event, how, result, event.shutdown)

    def _note_release(self, history: Kept, event: Event) -> None:
        flags = event.flags & ~(EventFlag.OWNER_EXITED | EventFlag.SENDER)
        history.unread_messages = event.unread_messages
        history.unread_bytes = event.unread_bytes
        history.error = event.size
        history.syscall = event.syscall
        history.descriptor = event.descriptor
        history.exit_code = event.exit_code if flags & EventFlag.EXITING else 0
        if flags & EventFlag.KERNEL_THREAD:
            history.user = USERS >> 2 * (history.users_kept - 1)
            if event.flags & EventFlag.OWNER_EXITED and history.owner_pid == event.owner_pid:
                flags |= EventFlag.OWNER_EXITED
                history.exit_code = event.exit_code
                if event.sender:
                    history.sender = event.sender
                    flags |= EventFlag.SENDER
        else:
            history.owner_pid = 0
            if flags & EventFlag.EXITING and event.sender:
                history.sender = event.sender
                flags |= EventFlag.SENDER
        history.release_flags = int(flags)
        self._note(history, event, history.error, 0, event.shutdown)
        history.state |= RELEASED

    def _released(self, event: Event) -> None:
        embryo = bool(event.flags & EventFlag.EMBRYO)
        history = self._history_of(event, SERVER if embryo else 0)
        self._is_aftermath(event)
        if not history:
            return
        if history.state & EXCLUDED:
            self._free_excluded(history)
            return
        users = history.users_seen
        self._remember_user(history, event, by_name=False)
        if history.users_seen != users:
            event = event._replace(flags=event.flags | EventFlag.FIRST_USE)
        wanted = self._is_wanted(history, event)
        other = self._peer_history(history)
        told = (
            other is not None
            and other.state & RELEASED
            and not event.size
            and not embryo
            and (other.unread_messages or other.release_flags & EventFlag.EMBRYO)
        )
        hurt = told or bool(history.state & HistoryState.UNTOLD)
        latent = other is not None and _has_left(history, other)
        if history.state & HANDED_OVER:
            hurt = latent = False
        if hurt and wanted:
            self._hand_over(history, event)
        over = bool(other.state & RELEASED if other else event.flags & EventFlag.PEER_DEAD)
        if history.state & HANDED_OVER:
            self._tell_entry(history.connection, event)
            history.state |= RELEASED
            self._aftermaths[event.tid] = event.end + AFTERMATH_NS
        else:
            self._note_release(history, event)
            if over and not history.state & HistoryState.UNTOLD and not self._missing_user(history):
                if latent and wanted and self._tell_latent(event.end):
                    self._hand_over(history, event)
                else:
                    self._count_ended(history, event.end, latent=latent)
        if over:
            del self.histories[event.sock]
            self.histories.pop(history.peer, None)

    def _free_excluded(self, history: Kept) -> None:
        other = self._peer_history(history)
        if other and other.state & RELEASED:
            del self.histories[other.sock]
        del self.histories[history.sock]


def _has_left(history: Kept, other: Kept) -> bool:
    if not other.state & RELEASED:
        return False
    # What a read has no room for of a message is dropped, and not left unread.
    known = history.state & BEGUN and (other.state & BEGUN or other.release_flags & EventFlag.EMBRYO)
    unread = history.written_bytes > other.read_bytes and history.type == STREAM and known
    return bool(other.unread_messages or unread)
