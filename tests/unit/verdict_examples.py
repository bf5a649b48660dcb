"""The shortest stories that docs/verdicts.md quotes a sentence of, for each verdict in the order of its quotations.

Names and pids are those of real servers that a verdict is met with; what is concluded never rests on them.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.record.layout import EventFlag, Sender, pack_sender
from hangup.tracer.verdicts import Kind, Verdict
from hangup.tracer.verdicts.rules import judge_connect
from tests.stories import (
    MICROSECOND,
    MILLISECOND,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    Story,
    Task,
    established,
    seeds_failure,
)
from tests.unit.playback import shown

SECOND = 1000 * MILLISECOND

_NGINX = Task("nginx", 206)
_HTTPD = Task("httpd", 165, 188)
_GUNICORN = Task("gunicorn", 222)
_PHP_FPM = Task("php-fpm", 169)
_MARIADBD = Task("mariadbd", 254)
_PYTHON = Task("python3", 275)
_XTERM = Task("xterm", 806)

Stories = Sequence[Story]


def verdicts(kind: Kind) -> list[Verdict]:
    """Return the verdicts on a kind's examples."""
    examples = [example() for example in EXAMPLES.get(kind, ())]
    if kind in _JUDGED_ALONE:
        backlog = _JUDGED_ALONE[kind]
        connects = [story.events[-1] for story in examples if isinstance(story, Story)]
        return [judge_connect(event, escape_socket_path(event.address), backlog=backlog) for event in connects]
    return [verdict for example in examples for verdict in said(example)]


def said(told: Story | Stories) -> list[Verdict]:
    """Return the verdicts on stories, harmless and latent ones included."""
    return shown(told, lambda alert: alert.verdict, latent=True, harmless=True)


def _nginx_waits_for_gunicorn() -> Story:
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(103)
    story.server.read()
    return story


def _sent_by(task: Task, number: int) -> bytes:
    return pack_sender(Sender(0, number, 0, task.pid, task.pid, task.uid, 0, task.comm.encode()))


def killed_by_its_master() -> Story:
    """PHP-FPM's request_terminate_timeout: the master ends a worker that takes too long."""
    story = established(path="/run/php/php8.2-fpm.sock", client=_HTTPD, server=_PHP_FPM)
    story.client.write(728)
    story.server.read()
    story.wait(2500 * MILLISECOND)
    story.server.release(killed_by=signal.SIGTERM, sender=_sent_by(Task("php-fpm", 160), signal.SIGTERM))
    story.client.read()
    story.client.release()
    return story


def killed_in_the_middle_of_an_answer() -> Story:
    story = _nginx_waits_for_gunicorn()
    story.server.write(4096)
    story.server.release(killed_by=signal.SIGSEGV)
    story.client.read(4096)
    story.client.read()
    story.client.release()
    return story


def exited() -> Story:
    story = _nginx_waits_for_gunicorn()
    story.wait(3 * MILLISECOND)
    story.server.release(exit_status=7)
    story.client.read()
    story.client.release()
    return story


def unanswered() -> Story:
    story = _nginx_waits_for_gunicorn()
    story.wait(3 * MILLISECOND)
    story.server.release()
    story.client.read()
    story.client.release()
    return story


def unread() -> Story:
    """Tell of an application that answers without reading the body."""
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(780)
    story.server.read()
    story.client.write(65_536)
    story.server.read(8192)
    story.server.write(120)
    story.server.release()
    story.wait(79 * MICROSECOND)
    story.client.write(4096, error=errno.EPIPE)
    story.client.release()
    return story


def gave_up() -> Story:
    """Tell of nginx's proxy_read_timeout, 1 s: the application answers when nobody waits any longer."""
    story = _nginx_waits_for_gunicorn()
    story.wait(SECOND)
    story.client.release()
    story.wait(2 * SECOND)
    story.server.write(119, error=errno.EPIPE)
    story.server.release()
    return story


def gave_up_in_the_middle() -> Story:
    story = _nginx_waits_for_gunicorn()
    story.server.write(8192)
    story.client.read()
    story.client.release()
    story.server.write(8192, error=errno.EPIPE)
    story.server.release()
    return story


def reused() -> Story:
    """Tell of wait_timeout, 1 s, and a pool that keeps its connections for longer."""
    story = _answered_by_mariadbd()
    story.wait(SECOND)
    story.server.release()
    story.wait(3 * SECOND)
    story.client.write(45, error=errno.EPIPE)
    story.client.release()
    return story


def _answered_by_mariadbd() -> Story:
    story = established(path="/run/mysqld/mysqld.sock", client=_PYTHON, server=_MARIADBD)
    story.client.write(40)
    story.server.read()
    story.server.write(90)
    story.client.read()
    return story


def farewell() -> Story:
    """Tell of COM_QUIT, five bytes, to a server that has closed the idle connection."""
    story = _answered_by_mariadbd()
    story.wait(SECOND)
    story.server.release()
    story.wait(3 * SECOND)
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    return story


def written_to_one_that_had_all() -> Story:
    """Tell of a server that says why it closes the idle connection to a client that has left."""
    story = _answered_by_mariadbd()
    story.wait(SECOND)
    story.client.release()
    story.wait(3 * SECOND)
    story.server.write(60, error=errno.EPIPE)
    story.server.release()
    return story


def own_shutdown() -> Story:
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(103)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    return story


def own_shutdown_by_another_thread() -> Story:
    story = established(path="/run/mysqld/mysqld.sock", client=_PYTHON, server=_MARIADBD)
    story.client.write(40)
    story.server.read()
    story.server.shutdown(SHUT_RDWR, by=_MARIADBD.thread(261))
    story.wait(2 * MILLISECOND)
    story.server.write(90, error=errno.EPIPE)
    return story


def own_shutdown_then_hangup() -> Story:
    """Tell of a forked child that ends what its parent serves; the client takes it for the end of its early answer."""
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(65_536)
    story.server.read(8192)
    story.server.write(120)
    story.server.shutdown(SHUT_RDWR, by=Task("gunicorn", 230))
    story.client.read(120)
    story.client.release()
    story.wait(MILLISECOND)
    story.server.write(4096, error=errno.EPIPE)
    return story


def two_victims() -> Story:
    """Tell of MySQL's KILL: first the server's own thread is hurt, then its client."""
    story = own_shutdown_by_another_thread()
    story.server.release()
    story.wait(4 * SECOND)
    story.client.write(45, error=errno.EPIPE)
    story.client.release()
    return story


def peer_shutdown() -> Story:
    story = established(path="/run/mysqld/mysqld.sock", client=_PYTHON, server=_MARIADBD)
    story.server.shutdown(SHUT_RD)
    story.wait(2 * MILLISECOND)
    story.client.write(40, error=errno.EPIPE)
    story.client.release()
    return story


def peer_shutdown_then_hangup() -> Story:
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(65_536)
    story.server.read(8192)
    story.server.shutdown(SHUT_RDWR)
    story.server.release()
    story.wait(79 * MICROSECOND)
    story.client.write(4096, error=errno.EPIPE)
    story.client.release()
    return story


def never_accepted() -> Story:
    story = Story(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.connect()
    story.client.write(103)
    story.wait(3 * SECOND)
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.read(error=errno.ECONNRESET)
    story.client.release()
    return story


def unseen() -> Story:
    """Tell of a connection whose server's end was gone before hangup was started."""
    story = Story(client=_NGINX, server=_GUNICORN, older=True)
    story.server.release()
    story.client.write(103, error=errno.EPIPE)
    # Nor does the kernel say any longer who had listened.
    story.events = [event._replace(peer_pid=0) for event in story.events[1:]]
    return story


def latent() -> Story:
    """Tell of a client that stops at the end of the answer, and never learns of the reset that waits for it."""
    story = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    story.client.write(3000)
    story.server.read(1000)
    story.server.write(120)
    story.server.release()
    story.client.read(120)
    story.client.release(size=errno.ECONNRESET)
    return story


def refused() -> Story:
    return _not_connected(errno.ECONNREFUSED)


def backlog_full() -> Story:
    return _not_connected(errno.EAGAIN)


def listener_gone() -> Stories:
    before = established(path="/run/gunicorn.sock", client=_NGINX, server=_GUNICORN)
    before.client.release()
    before.server.release()
    return [before, _not_connected(errno.ENOENT, after=before)]


def abstract_listener_gone() -> Stories:
    """Tell of an X server that has ended: its clients try its abstract name first."""
    before = established(path="\0/tmp/.X11-unix/X0", client=_XTERM, server=Task("Xorg", 512))
    before.client.release()
    before.server.release()
    after = Story(path="\0/tmp/.X11-unix/X0", client=_XTERM, start=before.now + SECOND)
    after.connect(error=errno.ECONNREFUSED)
    return [before, after]


def not_permitted() -> Story:
    return _not_connected(errno.EACCES)


def connect_failed() -> Story:
    story = Story(path="/run/nscd/socket", client=Task("id", 431))
    story.connect(error=errno.ENOENT)
    return story


def connect_failed_to_an_abstract_name() -> Story:
    """Tell of a boot without a splash screen, which systemd would have shown what it does."""
    story = Story(path="\0/org/freedesktop/plymouthd", client=Task("systemd", 1, uid=0))
    story.connect(error=errno.ECONNREFUSED)
    return story


def _not_connected(error: int, *, after: Story | None = None) -> Story:
    story = Story(path="/run/gunicorn.sock", client=_NGINX)
    if after:
        story.wait(after.now + SECOND - story.now)
    story.connect(error=error)
    return story


EXAMPLES: dict[Kind, tuple[Callable[[], Story | Stories], ...]] = {
    Kind.KILLED: (killed_by_its_master, killed_in_the_middle_of_an_answer),
    Kind.EXITED: (exited,),
    Kind.UNANSWERED: (unanswered,),
    Kind.UNREAD: (unread,),
    Kind.ANSWERED: (seeds_failure,),
    Kind.GAVE_UP: (gave_up, gave_up_in_the_middle),
    Kind.REUSED: (reused,),
    Kind.OWN_SHUTDOWN: (own_shutdown, own_shutdown_by_another_thread, own_shutdown_then_hangup),
    Kind.PEER_SHUTDOWN: (peer_shutdown, peer_shutdown_then_hangup),
    Kind.NEVER_ACCEPTED: (never_accepted,),
    Kind.UNSEEN: (unseen,),
    Kind.REFUSED: (refused,),
    Kind.BACKLOG_FULL: (backlog_full,),
    Kind.LISTENER_GONE: (listener_gone, abstract_listener_gone),
    Kind.NOT_PERMITTED: (not_permitted,),
    Kind.CONNECT_FAILED: (connect_failed, connect_failed_to_an_abstract_name),
    Kind.LATENT: (latent,),
}

# One is no alert; of the other the listener is asked how many wait there, of how many.
_JUDGED_ALONE: dict[Kind, tuple[int, int] | None] = {Kind.BACKLOG_FULL: (129, 128), Kind.CONNECT_FAILED: None}

HARMLESS = (farewell, written_to_one_that_had_all)
"""The stories that the document quotes for what is harmless."""
