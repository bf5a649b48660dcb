"""From bpf/*.c to instructions the kernel takes: BCC's compiler without kernel headers.

BCC wants the running kernel's headers. It is given bpf/include/ instead (BCC_KERNEL_SOURCE), and a macro for every fact
about the kernel that the C asks for by name (OFFSET(sock, sk_type), HAS_HELPER(task_pt_regs), see bpf/kernel.h), whose
value comes from BTF. The questions are found in the sources: they stand where they are asked and nowhere else.
"""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hangup.tracer.btf import Btf
from hangup.tracer.errors import HangupError

SOURCES = Path(__file__).parent.parent / "bpf"

MAPS = ("ring", "losses", "periods", "selected_pids")
"""The maps of bpf/hangup.c that Python reads or writes."""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_QUESTION = re.compile(r"\b(?P<question>OFFSET|SIZE|ENUMERATOR|HAS_MEMBER|HAS_HELPER)\((?P<arguments>\w+(?:, \w+)?)\)")


@dataclass(frozen=True)
class Compiled:
    """Compiled programs and the maps they use."""

    programs: Mapping[str, bytes]
    """Instructions by name, with the maps' descriptors in them."""
    maps: Mapping[str, int]
    """Descriptors by name."""


def kernel_macros(source: str, btf: Btf) -> dict[str, int]:
    """Return the macros that answer what a source asks about the kernel (see bpf/kernel.h).

    What BTF does not know is left undefined: code under a false #if may name it, other code does not compile.
    """
    macros = {}
    for match in _QUESTION.finditer(_COMMENT.sub("", source)):
        question = match["question"]
        names = match["arguments"].split(", ")
        if question == "OFFSET" and btf.has_member(*names):
            macros[f"OFFSET_{names[0]}__{names[1]}"] = btf.offset(*names)
        elif question == "SIZE":
            size = btf.size(names[0])
            if size is not None:
                macros[f"SIZE_{names[0]}"] = size
        elif question == "ENUMERATOR":
            value = btf.enum_value(*names)
            if value is not None:
                macros[f"ENUMERATOR_{names[0]}__{names[1]}"] = value
        elif question == "HAS_MEMBER":
            macros[f"HAS_MEMBER_{names[0]}__{names[1]}"] = int(btf.has_member(*names))
        elif question == "HAS_HELPER":
            known = btf.enum_value("bpf_func_id", f"BPF_FUNC_{names[0]}") is not None
            macros[f"HAS_HELPER_{names[0]}"] = int(known)
    return macros


def sources() -> dict[str, str]:
    """Return the texts that are compiled, by file name."""
    return {path.name: path.read_text() for path in sorted(SOURCES.iterdir()) if path.suffix in (".c", ".h")}


@contextmanager
def compiled(macros: Mapping[str, int]) -> Iterator[Compiled]:
    """Compile bpf/hangup.c with these macros and create its maps, for as long as the context lasts.

    When it ends the compiler's memory is given back and BCC closes its descriptors of the maps: duplicate what is to
    stay. Raises HangupError when python3-bpfcc is not the bcc that is found, or when BCC does not take the source.
    """
    try:
        from bcc import BPF  # noqa: PLC0415 - it brings LLVM along: only who traces pays
        from bcc.libbcc import lib  # noqa: PLC0415
    except ImportError:
        raise HangupError("the bcc Python module is missing", "apt install python3-bpfcc") from None

    flags = [f"-D{name}={value}" for name, value in macros.items()]
    with _environment("BCC_KERNEL_SOURCE", str(SOURCES)), _captured_stderr() as messages:
        try:
            module = BPF(src_file=bytes(SOURCES / "hangup.c"), cflags=[f"-I{SOURCES}", *flags])
        except Exception as error:
            reasons = [line for line in messages().splitlines() if "error" in line] or [str(error)]
            raise HangupError(
                f"BCC does not compile the probes ({reasons[0]})", "see what `hangup doctor` says"
            ) from error
    try:
        programs = {}
        for index in range(lib.bpf_num_functions(module.module)):
            name = lib.bpf_function_name(module.module, index)
            start = lib.bpf_function_start(module.module, name)
            size = lib.bpf_function_size(module.module, name)
            programs[name.decode()] = ctypes.string_at(start, size)
        maps = {name: lib.bpf_table_fd(module.module, name.encode()) for name in MAPS}
        yield Compiled(programs, maps)
    finally:
        module.cleanup()
        lib.bcc_free_memory()
        # What glibc keeps of freed memory for later is the compiler's: there is no later.
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what the compiler writes to descriptor 2 from the user's terminal; yields how to read it."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as messages:

        def text() -> str:
            messages.seek(0)
            return messages.read().decode(errors="replace")

        os.dup2(messages.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
