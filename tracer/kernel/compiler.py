"""From bpf/*.c to instructions the kernel takes: BCC's compiler without kernel headers, and what is kept of its work.

BCC wants the running kernel's headers. It is given bpf/include/ instead (BCC_KERNEL_SOURCE), and a macro for every fact
about the kernel that the C asks for by name (OFFSET(sock, sk_type), HAS_HELPER(task_pt_regs), see bpf/kernel.h), whose
value comes from BTF. The questions are found in the sources: they stand where they are asked and nowhere else.

BCC brings LLVM along, 100 MiB and some tenths of a second: it runs in a process of its own, and only where nothing
fitting is kept from an earlier run (`kept.py`).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel.btf import VMLINUX, Btf
from hangup.tracer.kernel.compiled import (
    FORMAT,
    Compiled,
    Function,
    KernelFacts,
    Program,
    decode_compiled,
    decode_facts,
    definition_of,
    encode,
    program_of,
)
from hangup.tracer.kernel.kept import Kept, NotKeptError
from hangup.tracer.version import VERSION

if TYPE_CHECKING:
    import subprocess

Flavour = Literal["kprobe", "fentry"]

SOURCES = Path(__file__).parent.parent.parent / "bpf"

_PAGE = 4096

_SEE_DOCTOR = "see what `hangup doctor` says"

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_QUESTION = re.compile(r"\b(?P<question>OFFSET|SIZE|ENUMERATOR|HAS_MEMBER|HAS_HELPER)\((?P<arguments>\w+(?:, \w+)?)\)")


# What runs in the compiler's process. It finds modules where we do: `-I` keeps it from looking anywhere else.
_CHILD = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from hangup.tracer.kernel.compiler import compile_for_parent
compile_for_parent()
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What is decided before the probes are compiled."""

    flavour: Flavour
    ring_bytes: int
    cpus: int
    """How many processors there can be."""

    def macros(self) -> dict[str, int]:
        """Return the macros that bpf/hangup.c knows them by."""
        macros = {"RING_PAGES": self.ring_bytes // _PAGE, "CPUS": self.cpus}
        return macros | {"PROBES_FENTRY": 1} if self.flavour == "fentry" else macros


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


_LOCAL_INCLUDE = re.compile(r'^#include "(?P<name>\w+\.h)"\n', re.MULTILINE)


def whole_source(texts: Mapping[str, str], name: str = "hangup.c", seen: set[str] | None = None) -> str:
    """Return a source with its local headers in the place of their #include, each once.

    BCC turns uses of maps into calls only in the main file (BTypeVisitor, src/cc/frontends/clang/b_frontend_action.cc).
    """
    seen = set() if seen is None else seen

    def include(match: re.Match[str]) -> str:
        header = match["name"]
        if header in seen:
            return ""
        seen.add(header)
        return whole_source(texts, header, seen)

    return _LOCAL_INCLUDE.sub(include, texts[name])


def sources(folder: Path = SOURCES) -> dict[str, str]:
    """Return the texts that are compiled, by file name."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in (".c", ".h")}


def facts_of(btf: Btf, source: str, functions: Collection[str]) -> KernelFacts:
    """Return all that a start asks of BTF: what this source asks, and where these functions are."""
    found = {}
    for name in functions:
        number = btf.function_id(name)
        if number is not None:
            found[name] = Function(number, btf.arguments(name))
    counts_misses = btf.has_member("bpf_prog_info", "recursion_misses")
    return KernelFacts(
        macros=kernel_macros(source, btf),
        functions=found,
        trampolines=btf.has_function("bpf_trampoline_link_prog"),
        misses_offset=btf.offset("bpf_prog_info", "recursion_misses") if counts_misses else None,
    )


# ---- what is kept ----------------------------------------------------------------------------------------------------


class Keeper:
    """Gives what a start needs of the kernel's BTF and of the compiler, from what is kept where that fits.

    It fits if all that it was made from is the same: the kernel's BTF and the sources byte for byte, the questions, the
    options, the machine, and hangup's version. What is kept and does not fit, cannot be read or is not trusted is made
    anew; what cannot be kept is not.
    """

    def __init__(self, kept: Kept, functions: Collection[str], *, btf: Path = VMLINUX, folder: Path = SOURCES) -> None:
        """Read the kernel's BTF and the sources; functions: those that BTF is asked for. Raises HangupError."""
        self._kept = kept
        self._functions = sorted(functions)
        self._btf = btf
        self._folder = folder
        self._base = {
            "format": FORMAT,
            "version": VERSION,
            "machine": os.uname().machine,
            # Not the build id in /sys/kernel/notes: it is what the notes say, this is what the offsets were read from.
            "btf": _digest_of_file(btf),
            "sources": _digest_of_sources(folder),
            "functions": self._functions,
        }
        self.not_kept: str | None = None
        """Why nothing is kept, in a few words; None as long as nothing stood against it."""
        self.path = kept.path
        """Where it is kept."""

    def facts(self) -> KernelFacts:
        """Return what BTF says. Raises HangupError if it cannot be read."""
        found = self.kept_facts()
        if found is None:
            with Btf(self._btf) as btf:
                found = facts_of(btf, "\n".join(sources(self._folder).values()), self._functions)
            self._write(self._base, found)
        return found

    def compiled(self, facts: KernelFacts, options: Options) -> Compiled:
        """Return the compiled probes. Raises HangupError if there are none and they cannot be compiled."""
        found = self.kept_compiled(options)
        if found is None:
            found = compile_probes({**facts.macros, **options.macros()}, self._folder)
            self._write(self._key(options), found)
        return found

    def kept_facts(self) -> KernelFacts | None:
        """Return what is kept of BTF, None if nothing fits."""
        data = self._read(self._base)
        try:
            return decode_facts(data, self._base) if data else None
        except ValueError:
            return None

    def kept_compiled(self, options: Options) -> Compiled | None:
        """Return the programs that are kept for these options, None if none fit."""
        key = self._key(options)
        data = self._read(key)
        try:
            return decode_compiled(data, key) if data else None
        except ValueError:
            return None

    def _key(self, options: Options) -> dict[str, Any]:
        return self._base | {"flavour": options.flavour, "options": options.macros()}

    def _read(self, key: Mapping[str, Any]) -> bytes | None:
        try:
            return self._kept.read(_file_name(key))
        except NotKeptError as error:
            self.not_kept = str(error)
            return None

    def _write(self, key: Mapping[str, Any], value: Compiled | KernelFacts) -> None:
        try:
            self._kept.write(_file_name(key), encode(key, value))
        except NotKeptError as error:
            self.not_kept = str(error)


def _file_name(key: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{key.get('flavour', 'kernel')}-{digest[:32]}"


def _digest_of_file(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HangupError(f"cannot read the kernel's BTF ({path}: {error.strerror})", "see `hangup doctor`") from None


def _digest_of_sources(folder: Path) -> str:
    """Return the digest of all that is compiled, and of the modules that say how: a checkout has but one version."""
    digest = hashlib.sha256()
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.[ch]"))}
    ours = {name: Path(__file__).with_name(name) for name in ("btf.py", "compiled.py", "compiler.py")}
    for name, path in {**files, **ours}.items():
        text = path.read_bytes()
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()


# ---- the compiler ----------------------------------------------------------------------------------------------------


def compile_probes(macros: Mapping[str, int], folder: Path = SOURCES) -> Compiled:
    """Compile a folder's hangup.c with these macros in a process of its own, whose memory goes with it.

    Raises HangupError when python3-bpfcc is not the bcc that is found, or when BCC does not take the source.
    """
    # What is kept needs none of it.
    import subprocess  # noqa: PLC0415

    key = {"macros": dict(macros)}
    # An empty place in the path is the current folder.
    path = [str(Path(place).absolute()) for place in sys.path]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(path)],
            input=json.dumps({"folder": str(folder), **key}).encode(),
            capture_output=True,
            env={**os.environ, "BCC_KERNEL_SOURCE": str(folder)},
            check=False,
        )
    except OSError as error:
        raise HangupError(f"cannot run the compiler ({sys.executable}: {error.strerror})", _SEE_DOCTOR) from error
    try:
        if done.returncode == 0:
            return decode_compiled(done.stdout, key)
        problem, remedy = json.loads(done.stdout)
    except ValueError:
        raise HangupError(f"BCC does not compile the probes ({_reason(done)})", _SEE_DOCTOR) from None
    raise HangupError(problem, remedy)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the compiler's first complaint, or the last thing that its process had to say."""
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"]
    return next((line for line in said if "error:" in line), said[-1])


def compile_for_parent() -> None:
    """Compile what standard input says, and write the result, or what a HangupError says, to standard output."""
    wanted = json.loads(sys.stdin.buffer.read())
    macros = wanted["macros"]
    try:
        data, status = encode({"macros": macros}, _compile(macros, Path(wanted["folder"]))), 0
    except HangupError as error:
        data, status = json.dumps([error.problem, error.remedy]).encode(), 1
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    # Nothing is left to do, and taking LLVM down takes its time.
    os._exit(status)


def _compile(macros: Mapping[str, int], folder: Path) -> Compiled:
    """Compile in this process; what BCC says goes to standard error."""
    try:
        from bcc import BPF  # noqa: PLC0415 - it brings LLVM along
        from bcc.libbcc import lib  # noqa: PLC0415
    except ImportError:
        raise HangupError("the bcc Python module is missing", "apt install python3-bpfcc") from None

    flags = [f"-D{name}={value}" for name, value in macros.items()]
    module = BPF(text=whole_source(sources(folder)), cflags=flags).module
    lib.bpf_table_name.restype = ctypes.c_char_p
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    tables = {}
    for index in range(lib.bpf_num_tables(ctypes.c_void_p(module))):
        name = lib.bpf_table_name(module, index)
        tables[name.decode()] = lib.bpf_table_fd(module, name)
    names = {descriptor: name for name, descriptor in tables.items()}
    programs: dict[str, Program] = {}
    for index in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, index)
        instructions = ctypes.string_at(lib.bpf_function_start(module, name), lib.bpf_function_size(module, name))
        programs[name.decode()] = program_of(instructions, names)
    maps = tuple(definition_of(name, descriptor) for name, descriptor in tables.items())
    return Compiled(programs, maps, dict(macros))
