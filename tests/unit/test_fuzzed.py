"""What a fuzzer came upon, and what it began with, is read without a fault. `make fuzz` looks for more.

`python -m tests.unit.test_fuzzed` writes anew what it begins with, as after a change of the layout of records.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import zstandard

from hangup.tracer.capture.format import HEADER_BYTES, pack_header
from hangup.tracer.record.layout import OPERATION_AT, Operation, with_payload
from tests import stories
from tests.captures import OPERATIONS, RECORDS, file_of
from tests.fuzz.capture import CORPUS, SHAPES, one_input
from tests.identities import allowed, changed, executed
from tests.recorder import Recorder

_FILE = file_of([RECORDS[:3], RECORDS[3:]])[HEADER_BYTES:]
_HISTORIES = list(Recorder().record(stories.seeds_failure().events))

_CLIENT = stories.HTTPD
_IDENTITIES = [
    changed(_CLIENT, 1, allowed(0), allowed(33)),
    executed(_CLIENT, 2, b"/usr/sbin/httpd", was="sh"),
]

_NO_OPERATION = bytearray(RECORDS[4])
_NO_OPERATION[OPERATION_AT] = 0
_IDENTITY_AND_OPERATION = bytearray(_IDENTITIES[1])
_IDENTITY_AND_OPERATION[OPERATION_AT] = int(Operation.READ)

_PAYLOAD = [
    record
    if record[OPERATION_AT] not in (Operation.READ, Operation.WRITE)
    else with_payload(record, b"\x01\x04 POST /\xff")
    for record in OPERATIONS
]

# Whole captures, in each shape of an input: what it finds by itself goes from there.
SEEDS = {
    "whole": b"\0" + _FILE,
    "cut": b"\0" + _FILE[:-70],
    "header": b"\0" + pack_header() + _FILE,
    "records": b"\1" + b"".join(RECORDS),
    "histories": b"\1" + b"".join(_HISTORIES),
    "identities": b"\1" + b"".join([*_IDENTITIES, *RECORDS, *_IDENTITIES]),
    "payload": b"\1" + b"".join([*RECORDS[:2], *_PAYLOAD]),
    "no-operation": b"\1" + b"".join([*RECORDS[:4], _NO_OPERATION, *RECORDS[5:]]),
    "identity-and-operation": b"\1" + b"".join([*RECORDS, _IDENTITY_AND_OPERATION]),
    "frame": b"\2" + struct.pack("<I", len(RECORDS[2])) + zstandard.ZstdCompressor().compress(RECORDS[2]),
    "bomb": b"\2" + struct.pack("<I", 1 << 20) + zstandard.ZstdCompressor().compress(bytes(1 << 20)),
    "blocks": b"\3" + _FILE,
}

FOUND = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_a_fuzzer_came_upon_is_read_without_a_fault(path: Path) -> None:
    one_input(path.read_bytes())


def test_what_a_fuzzer_begins_with_is_there() -> None:
    assert set(SEEDS) <= {path.name for path in FOUND}


def test_the_corpus_has_every_shape_of_input() -> None:
    assert {path.read_bytes()[0] % len(SHAPES) for path in FOUND} == set(range(len(SHAPES)))


def test_what_is_wrong_with_the_reader_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr("hangup.tracer.capture.parser.unpack_block_header", faulty)
    with pytest.raises(IndexError):
        one_input((CORPUS / "whole").read_bytes())


if __name__ == "__main__":
    for name, content in SEEDS.items():
        (CORPUS / name).write_bytes(content)
