"""What a fuzzer came upon, and what it began with, is read without a fault. `make fuzz` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.capture import CORPUS, SHAPES, one_input

FOUND = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_a_fuzzer_came_upon_is_read_without_a_fault(path: Path) -> None:
    one_input(path.read_bytes())


def test_the_corpus_has_every_shape_of_input() -> None:
    assert {path.read_bytes()[0] % len(SHAPES) for path in FOUND} == set(range(len(SHAPES)))


def test_what_is_wrong_with_the_reader_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr("hangup.tracer.capture.parser.unpack_block_header", faulty)
    with pytest.raises(IndexError):
        one_input((CORPUS / "whole").read_bytes())
