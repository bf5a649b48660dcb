"""Every fact that the C asks of the kernel is answered from BTF; what was made of them is kept as long as it fits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel import compiler
from hangup.tracer.kernel.btf import Btf
from hangup.tracer.kernel.compiled import Compiled, KernelFacts, Program
from hangup.tracer.kernel.compiler import Keeper, Options, compile_probes, kernel_macros, sources
from hangup.tracer.kernel.kept import Kept

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


class FakeBtf:
    """A kernel that has these members and helpers, or whatever it is asked for."""

    def __init__(
        self,
        members: dict[tuple[str, str], int] | None = None,
        helpers: tuple[str, ...] = (),
        *,
        all_of_it: bool = False,
    ) -> None:
        self._members = members or {}
        self._helpers = helpers
        self._all = all_of_it

    def has_member(self, structure: str, member: str) -> bool:
        """Answer as Btf.has_member()."""
        return self._all or (structure, member) in self._members

    def offset(self, structure: str, member: str) -> int:
        """Answer as Btf.offset()."""
        return 8 if self._all else self._members[structure, member]

    def size(self, structure: str) -> int | None:
        """Answer as Btf.size()."""
        return 16 if self._all or any(structure == known for known, _ in self._members) else None

    def enum_value(self, enum: str, enumerator: str) -> int | None:
        """Answer as Btf.enum_value()."""
        if self._all:
            return 1
        if enum == "pid_type":
            return {"PIDTYPE_TGID": 1}.get(enumerator)
        assert enum == "bpf_func_id"
        return 1 if enumerator.removeprefix("BPF_FUNC_") in self._helpers else None


def macros(source: str, btf: FakeBtf) -> dict[str, int]:
    return kernel_macros(source, cast(Btf, btf))


def test_an_offset_is_a_macro() -> None:
    btf = FakeBtf({("sock", "sk_type"): 16})
    assert macros("read_u16(sock + OFFSET(sock, sk_type));", btf) == {"OFFSET_sock__sk_type": 16}


def test_several_on_a_line_are_all_found() -> None:
    btf = FakeBtf({("a", "b"): 1, ("c", "d"): 2})
    assert macros("x + OFFSET(a, b) + OFFSET(c, d)", btf) == {"OFFSET_a__b": 1, "OFFSET_c__d": 2}


def test_what_the_kernel_lacks_is_left_undefined() -> None:
    assert macros("OFFSET(sock, gone)", FakeBtf()) == {}


def test_a_size_and_an_enumerator_are_macros() -> None:
    btf = FakeBtf({("upid", "nr"): 0})
    source = "level * SIZE(upid) + SIZE(gone) + ENUMERATOR(pid_type, PIDTYPE_TGID) + ENUMERATOR(pid_type, PIDTYPE_GONE)"
    assert macros(source, btf) == {"SIZE_upid": 16, "ENUMERATOR_pid_type__PIDTYPE_TGID": 1}


def test_a_helper_is_there_or_not() -> None:
    source = "#if HAS_HELPER(task_pt_regs)\n#if HAS_HELPER(loop)"
    btf = FakeBtf(helpers=("task_pt_regs",))
    assert macros(source, btf) == {"HAS_HELPER_task_pt_regs": 1, "HAS_HELPER_loop": 0}


def test_comments_ask_nothing() -> None:
    assert macros("/* OFFSET(a, b)\n * HAS_HELPER(c) */ HAS_HELPERS(d)", FakeBtf(all_of_it=True)) == {}


def questions() -> set[str]:
    """Return the names of the questions there are: the macros of kernel.h that make a name of their arguments."""
    return set(re.findall(r"^#define (\w+)\([^)]*\) \1_##", sources()["kernel.h"], re.MULTILINE))


def test_every_question_in_the_probes_is_answered() -> None:
    texts = sources()
    assert {"hangup.c", "record.h", "history.h", "operation.h", "kernel.h", "probes.h"} <= set(texts)
    assert "OFFSET" in questions()
    answered = macros("\n".join(texts.values()), FakeBtf(all_of_it=True))
    for name, text in texts.items():
        code = COMMENT.sub("", text)
        # However it is spelled: over lines, without blanks.
        for question, arguments in re.findall(rf"\b({'|'.join(questions())})\s*\(([^()]*)\)", code):
            names = [argument.strip() for argument in arguments.split(",")]
            assert f"{question}_{'__'.join(names)}" in answered, f"{name}: {question}({arguments})"
    assert len(answered) > 10


# ---- what is kept ----------------------------------------------------------------------------------------------------

OPTIONS = Options("fentry", ring_bytes=1 << 24, cpus=2)


class Bench:
    """A kernel, sources and a place to keep things in, none of them real; counts how often something was made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.chmod(0o755)
        self.kept = Kept(folder / "kept", owner=os.geteuid(), top=folder)
        self.btf = folder / "btf"
        self.btf.write_bytes(b"this kernel's BTF")
        self.sources = folder / "bpf"
        (self.sources / "include" / "linux").mkdir(parents=True)
        (self.sources / "hangup.c").write_text("OFFSET(sock, sk_type)")
        (self.sources / "include" / "linux" / "types.h").write_text("typedef int s32;")
        self.functions = ["unix_accept", "unix_shutdown"]
        self.facts_made = 0
        self.compiled_made = 0
        monkeypatch.setattr(compiler, "Btf", lambda _: nullcontext())
        monkeypatch.setattr(compiler, "facts_of", self._make_facts)
        monkeypatch.setattr(compiler, "compile_probes", self._compile)

    def _make_facts(self, *_: object) -> KernelFacts:
        self.facts_made += 1
        return KernelFacts({"OFFSET_sock__sk_type": 16}, {}, True, 100)

    def _compile(self, macros: dict[str, int], folder: Path) -> Compiled:
        self.compiled_made += 1
        assert folder == self.sources
        return Compiled({"enter": Program(bytes(8 * self.compiled_made))}, (), macros)

    def start(self, options: Options = OPTIONS) -> Compiled:
        """Do what a start does."""
        keeper = Keeper(self.kept, self.functions, btf=self.btf, folder=self.sources)
        return keeper.compiled(keeper.facts(), options)

    @property
    def made(self) -> tuple[int, int]:
        """How often BTF was walked and how often it was compiled."""
        return self.facts_made, self.compiled_made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_second_start_neither_walks_btf_nor_compiles(bench: Bench) -> None:
    assert bench.start() == bench.start()
    assert bench.made == (1, 1)
    bench.functions.reverse()
    bench.start()
    assert bench.made == (1, 1)


def _other_btf(bench: Bench, _: pytest.MonkeyPatch) -> None:
    # As long as it was: only the bytes differ.
    bench.btf.write_bytes(b"this kernel's BTG")


def _other_source(bench: Bench, _: pytest.MonkeyPatch) -> None:
    (bench.sources / "hangup.c").write_text("OFFSET(sock, sk_typo)")


def _other_header(bench: Bench, _: pytest.MonkeyPatch) -> None:
    (bench.sources / "include" / "linux" / "types.h").write_text("typedef long s32;")


def _one_more_source(bench: Bench, _: pytest.MonkeyPatch) -> None:
    (bench.sources / "more.h").touch()


def _renamed_source(bench: Bench, _: pytest.MonkeyPatch) -> None:
    (bench.sources / "include" / "linux" / "types.h").rename(bench.sources / "include" / "types.h")


def _other_function(bench: Bench, _: pytest.MonkeyPatch) -> None:
    bench.functions.append("unix_stream_connect")


def _other_version(_: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "VERSION", "0.0.1")


def _other_format(_: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "FORMAT", 0)


def _other_machine(_: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*here[:4], "aarch64")))


@pytest.mark.parametrize(
    "change",
    [
        _other_btf,
        _other_source,
        _other_header,
        _one_more_source,
        _renamed_source,
        _other_function,
        _other_version,
        _other_format,
        _other_machine,
    ],
)
def test_with_anything_else_all_is_made_anew_and_kept_beside_it(
    change: Callable[[Bench, pytest.MonkeyPatch], None], bench: Bench
) -> None:
    bench.start()
    with pytest.MonkeyPatch.context() as changed:
        change(bench, changed)
        bench.start()
        assert bench.made == (2, 2)
        bench.start()
        assert bench.made == (2, 2)
    assert len(list(bench.kept.path.iterdir())) == 4


@pytest.mark.parametrize(
    "options",
    [replace(OPTIONS, flavour="kprobe"), replace(OPTIONS, ring_bytes=1 << 23), replace(OPTIONS, cpus=3)],
)
def test_with_another_option_it_is_compiled_anew_and_btf_is_known(options: Options, bench: Bench) -> None:
    first = bench.start()
    assert bench.start(options) != first
    assert bench.start() == first
    assert bench.made == (1, 2)


def test_what_is_damaged_is_made_anew_and_kept_again(bench: Bench) -> None:
    bench.start()
    for path in bench.kept.path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    bench.start()
    assert bench.made == (2, 2)
    bench.start()
    assert bench.made == (2, 2)


def test_one_kernels_programs_under_anothers_name_are_not_taken(bench: Bench) -> None:
    bench.start()
    mine = {path.name: path.read_bytes() for path in bench.kept.path.iterdir()}
    _other_btf(bench, pytest.MonkeyPatch())
    bench.start()
    for path in bench.kept.path.iterdir():
        if path.name not in mine:
            kind = path.name.split("-")[0]
            path.write_bytes(next(data for name, data in mine.items() if name.startswith(kind)))
    bench.start()
    assert bench.made == (3, 3)


def test_where_nothing_can_be_kept_every_start_compiles_and_says_why_not(bench: Bench) -> None:
    bench.kept.path.mkdir()
    bench.kept.path.chmod(0o777)
    keeper = Keeper(bench.kept, bench.functions, btf=bench.btf, folder=bench.sources)
    for _ in range(2):
        keeper.compiled(keeper.facts(), OPTIONS)
    assert bench.made == (2, 2)
    assert keeper.not_kept is not None
    assert "others than root may write to" in keeper.not_kept
    assert list(bench.kept.path.iterdir()) == []


def test_without_btf_the_error_says_what_to_do(bench: Bench) -> None:
    bench.btf.unlink()
    with pytest.raises(HangupError, match="cannot read the kernel's BTF"):
        bench.start()


# ---- the compiler's process ------------------------------------------------------------------------------------------


def bcc(folder: Path, text: str) -> None:
    package = folder / "bcc"
    package.mkdir()
    (package / "__init__.py").write_text(text)


def complaint() -> str:
    with pytest.raises(HangupError) as caught:
        compile_probes({})
    (line,) = str(caught.value).splitlines()
    return line


def test_a_missing_bcc_is_named_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Debian's packages hold the real one, where there is one.
    without = [place for place in sys.path if "dist-packages" not in place]
    monkeypatch.setattr(sys, "path", without)
    assert complaint() == "the bcc Python module is missing: apt install python3-bpfcc"
    bcc(tmp_path, "# another project")
    # Not syspath_prepend(): it would leave the other tests the path without Debian's packages.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *without])
    assert complaint() == "the bcc Python module is missing: apt install python3-bpfcc"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit('x.c:1:2: error: no\\nlast')", "x.c:1:2: error: no"),
        ("raise OSError('libbcc.so.0: no')", "OSError: libbcc.so.0: no"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it was ended by signal 9"),
        ("import os; os._exit(0)", "it does not say why"),
        ("import os; os.write(1, b'{}'); os._exit(0)", "it does not say why"),
        ("import os; os._exit(1)", "it does not say why"),
    ],
)
def test_whatever_ends_the_compiler_is_said_in_one_line(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bcc(tmp_path, text)
    monkeypatch.syspath_prepend(tmp_path)
    assert complaint() == f"BCC does not compile the probes ({reason}): see what `hangup doctor` says"


def test_a_python_that_does_not_run_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert "cannot run the compiler (/nonexistent/python: No such file or directory)" in complaint()


def test_the_folder_one_stands_in_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bcc", "json", "hangup"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place and "dist-packages" not in place])
    assert complaint() == "the bcc Python module is missing: apt install python3-bpfcc"
