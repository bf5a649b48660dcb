"""The one list of verdicts: the code, docs/verdicts.md and the output take names, meanings and advice from it."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """The verdicts by cause: name, whether it is an alert, what it means, what to do about it."""

    label: str
    is_alert: bool
    meaning: str
    advice: str

    def __new__(cls, label: str, is_alert: bool, meaning: str, advice: str) -> Kind:
        """Give each verdict its properties; its value is its label."""
        kind = object.__new__(cls)
        kind._value_ = label
        kind.label = label
        kind.is_alert = is_alert
        kind.meaning = meaning
        kind.advice = advice
        return kind

    @classmethod
    def named(cls, label: str) -> Kind:
        """Return the verdict of a name. Raises KeyError."""
        return {kind.label: kind for kind in cls}[label]

    KILLED = (
        "killed",
        True,
        "A signal ended the process at one end with the connection open; who sent it is named where it was seen.",
        "Find out why it was sent: the sender's log says, or for a crash the core; for the OOM killer `dmesg`.",
    )
    EXITED = (
        "exited",
        True,
        "The process at one end exited with the connection open; its exit, not close(2), released the socket.",
        "Let workers finish their request before they exit; after a status that is not 0 their own log says why.",
    )
    UNANSWERED = (
        "unanswered",
        True,
        "One end closed the connection without a byte of the answer that it owed the other.",
        "Look into the log of the one that closed, at that time: it gave the request up, and knows why.",
    )
    UNREAD = (
        "unread",
        True,
        "One end closed the connection with part of what the other had sent unread, so that the kernel reset it.",
        "Let it read the request to its end before it closes, and let the other end read the answer also after EPIPE.",
    )
    ANSWERED = (
        "answered",
        True,
        "One end had read everything sent so far, had answered, and closed while more was being sent.",
        "Mend the one that closed: it has to read up to the end of the request as its protocol defines it.",
    )
    GAVE_UP = (
        "gave-up",
        True,
        "The one that waited for an answer, or was in the middle of one, left before it was whole.",
        "Find out what took so long, or raise the time-out of the one that left above what an answer takes.",
    )
    REUSED = (
        "reused",
        True,
        "One end closed a connection on which nothing was owed, and the other used it again.",
        "Let the one that uses it again close idle connections sooner than the other does, or try again on a new one.",
    )
    OWN_SHUTDOWN = (
        "own-shutdown",
        True,
        "The end that failed had been shut down at its own side: shutdown(SHUT_WR or SHUT_RDWR), then a write.",
        "Mend the process that called shutdown(2): another thread or process still wrote.",
    )
    PEER_SHUTDOWN = (
        "peer-shutdown",
        True,
        "The other end had been shut down first: shutdown(SHUT_RD or SHUT_RDWR), or SHUT_WR while it owed an answer.",
        "Look into the log of the one that called shutdown(2): it wanted no more, and said so before it closed.",
    )
    NEVER_ACCEPTED = (
        "never-accepted",
        True,
        "The listener was closed, or its process ended, while the connection still waited in its backlog.",
        "Hand the listening socket over in a restart (systemd's socket activation), so that the queue survives it.",
    )
    UNSEEN = (
        "unseen",
        True,
        "The other end had gone, and its hang-up was not recorded: how it came about is not known.",
        "Start hangup before the connection is made, and see whether records were lost.",
    )
    REFUSED = (
        "refused",
        True,
        "Connect failed with ECONNREFUSED on a path: there is a file but nobody listens behind it (unix_find_other()).",
        "Start the server, or remove the file that a dead one has left behind.",
    )
    BACKLOG_FULL = (
        "backlog-full",
        True,
        "A connect that does not wait failed with EAGAIN: the listener's backlog was full (unix_stream_connect()).",
        "Let more workers accept, or make the backlog longer: the server's own setting, and net.core.somaxconn.",
    )
    LISTENER_GONE = (
        "listener-gone",
        True,
        "Connect failed with ENOENT, or on an abstract name with ECONNREFUSED, where somebody had listened before.",
        "See whether the server runs, and whether something else removed its socket file.",
    )
    NOT_PERMITTED = (
        "not-permitted",
        True,
        "Connect failed with EACCES or EPERM.",
        "Writing to the socket file and searching its folders must be allowed to the client: see `namei -l PATH`.",
    )
    CONNECT_FAILED = (
        "connect-failed",
        False,
        "Connect failed with another error, or found nothing where nobody was seen listening: counted by its error.",
        "Usually nothing: programs try paths and names that need not be there.",
    )
    LATENT = (
        "latent",
        False,
        "One end hung up with bytes unread and nobody happened to fail: counted, and an alert only if asked for.",
        "The same as for `unread`: under load somebody will fail.",
    )
    CLEAN = (
        "clean",
        False,
        "Nobody failed, and the end that hung up first had read everything: counted.",
        "Nothing.",
    )
