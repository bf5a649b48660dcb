"""Every fact that the C asks of the kernel is found in the sources and answered from BTF."""

from __future__ import annotations

import re
from typing import cast

from hangup.tracer.btf import Btf
from hangup.tracer.compiler import kernel_macros, sources

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
    assert {"hangup.c", "event.h", "kernel.h", "probes.h"} <= set(texts)
    assert "OFFSET" in questions()
    answered = macros("\n".join(texts.values()), FakeBtf(all_of_it=True))
    for name, text in texts.items():
        code = COMMENT.sub("", text)
        # However it is spelled: over lines, without blanks.
        for question, arguments in re.findall(rf"\b({'|'.join(questions())})\s*\(([^()]*)\)", code):
            names = [argument.strip() for argument in arguments.split(",")]
            assert f"{question}_{'__'.join(names)}" in answered, f"{name}: {question}({arguments})"
    assert len(answered) > 10
