"""From a filter's text to its tree, and back."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.parser import MAX_DEPTH, MAX_LENGTH, parse
from hangup.tracer.filter.tree import EXISTS, LISTS, SIGNS, WORDS, And, Comparison, Not, Or, Tree, spelled, unquoted

A, B, C = (Comparison(name, "=", ("1",)) for name in ("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (
            "proc.pid=22000 or proc.pid=20881",
            Or((Comparison("proc.pid", "=", ("22000",)), Comparison("proc.pid", "=", ("20881",)))),
        ),
        (
            "fd.type=unix and evt.type in (connect, writev, close, read)",
            And(
                (
                    Comparison("fd.type", "=", ("unix",)),
                    Comparison("evt.type", "in", ("connect", "writev", "close", "read")),
                )
            ),
        ),
        ("evt.rawres=-32", Comparison("evt.rawres", "=", ("-32",))),
        ("evt.dur > 1ms", Comparison("evt.dur", ">", ("1ms",))),
        ("a==1", A),
        ("a=1 or b=1 and c=1", Or((A, And((B, C))))),
        ("(a=1 or b=1) and c=1", And((Or((A, B)), C))),
        ("not a=1 and b=1", And((Not(A), B))),
        ("not(a=1 and b=1)", Not(And((A, B)))),
        ("not not a=1", Not(Not(A))),
        ("a=1 and(b=1)or c=1", Or((And((A, B)), C))),
        ("fd.name pmatch (/run, /tmp/x)", Comparison("fd.name", "pmatch", ("/run", "/tmp/x"))),
        ("container.name exists", Comparison("container.name", "exists")),
        ("a in ()", Comparison("a", "in", ())),
        ("a.and=and", Comparison("a.and", "=", ("and",))),
    ],
)
def test_a_text_is_understood_as_sysdig_does(text: str, tree: Tree) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hello", "hello"),
        (r"\x40x", r"\x40x"),
        (r"a\b", r"a\b"),
        ('"two words"', "two words"),
        ("'two words'", "two words"),
        (r'"a \"b\" c"', 'a "b" c'),
        (r"'it\'s'", "it's"),
        ('"it\'s, (really)="', "it's, (really)="),
        (r'"\\x40x"', r"\x40x"),
        (r'"\x41\x07"', r"A\x07"),
        (r'"\n\t"', r"\x0a\x09"),
        ('"a\nb"', r"a\x0ab"),
        (r'"\xe9\xc3\xa9"', r"\xe9é"),
        ("\u202ex", r"\xe2\x80\xaex"),
        ('""', ""),
    ],
)
def test_a_value_is_what_names_look_like_when_they_are_shown(text: str, value: str) -> None:
    assert parse(f"a={text}") == Comparison("a", "=", (value,))


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 1, "an empty filter"),
        ("proc.pid", 9, "the end where an operator (= != < <="),
        ("proc.pid= ", 10, "the end where a value was expected"),
        ("=3", 1, "'=' where a field, not or ( was expected"),
        ("a=1 b.c=2", 5, "'b.c' where and, or or the end was expected"),
        ("a=1 and", 8, "the end where a field, not or ( was expected"),
        ("(a=1", 5, "the end where ) was expected"),
        ("a in 3", 6, "'3' where ( was expected"),
        ("a in (1,2", 10, "the end where ) or , was expected"),
        ("a='x", 3, "quotes that do not end"),
        (r"a='\q'", 3, r"\q means nothing"),
        (r"a='\x4'", 3, r"\x wants two hexadecimal digits"),
        (r"""a='\"'""", 3, r"\" means nothing"),
        ("a & b=1", 3, "'&' where an operator"),
        ("a=1 \x07", 5, "a character that cannot be printed where"),
        ("a=\ud800", 3, "a character that no name can have"),
        ("not " * (MAX_DEPTH + 1) + "a=1", 1, "brackets and `not` more than 100 deep"),
        ("(" * (MAX_DEPTH + 1) + "a=1" + ")" * (MAX_DEPTH + 1), 1, "brackets and `not` more than 100 deep"),
        ("a=" + "x" * MAX_LENGTH, MAX_LENGTH + 1, "longer than"),
    ],
)
def test_what_cannot_be_understood_is_one_line_that_says_where_and_what_was_expected(
    text: str, column: int, problem: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.column == column
    assert caught.value.problem.startswith(problem)
    assert str(caught.value) == f"column {column} of the filter: {caught.value.problem}"


def test_a_value_can_be_copied() -> None:
    value = unquoted(r"'\x01\\x'")
    copied = copy.deepcopy(value)
    assert (copied, copied.raw) == (value, value.raw) == (r"\x01\x", b"\x01\\x")


def test_a_caret_points_at_the_place_also_in_a_long_filter() -> None:
    for text in ("a=1 and and=1 b", "é=1", "a=1 and " * 50 + "b?"):
        with pytest.raises(FilterError) as caught:
            parse(text)
        line, shown, caret = caught.value.pointed.splitlines()
        assert line == str(caught.value)
        place = len(caret) - 1
        assert caret.strip() == "^"
        assert (shown + " ")[place] == (text + " ")[caught.value.column - 1]
        assert len(shown) <= 80


def test_what_is_no_deeper_than_allowed_is_understood() -> None:
    assert parse("(" * MAX_DEPTH + "a=1" + ")" * MAX_DEPTH) == A


_NAMES = st.from_regex(r"[a-z]+(\.[a-z_0-9]+){0,2}", fullmatch=True)
_VALUES = st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "replace"))).map(
    lambda text: spelled(text.encode("utf-8", "surrogatepass"))
)


def _tests() -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.builds(Comparison, _NAMES, st.sampled_from([*SIGNS, *WORDS]), st.tuples(_VALUES)),
        st.builds(Comparison, _NAMES, st.sampled_from(LISTS), st.lists(_VALUES, max_size=3).map(tuple)),
        st.builds(Comparison, _NAMES, st.just(EXISTS)),
    )


def _deeper(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    def several(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[tuple[Tree, ...]]:
        return st.lists(parts, min_size=2, max_size=4).map(tuple)

    return st.one_of(parts.map(Not), several(parts).map(And), several(parts).map(Or))


TREES = st.recursive(_tests(), _deeper, max_leaves=12)


@given(TREES)
def test_whatever_a_tree_is_written_as_is_understood_as_the_same_tree(tree: Tree) -> None:
    assert parse(str(tree)) == tree


_PIECES = (
    *("and", "or", "not", "(", ")", ",", "=", "!=", "<=", ">", "in", "pmatch", "exists", "contains", "glob"),
    *(
        "proc.pid",
        "evt.res",
        "1ms",
        "'",
        '"',
        "\\",
        "\\x",
        r"'\q'",
        "'a b'",
        " ",
        "\n",
        "\x00",
        "é",
        "\udc80",
        "\ud800",
    ),
)
_WORDS = st.sampled_from(_PIECES)


@given(st.one_of(st.text(), st.lists(_WORDS).map(" ".join), st.lists(_WORDS).map("".join)))
def test_no_text_is_answered_by_anything_but_a_tree_or_an_error_that_points_into_it(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as error:
        wrong = error
    else:
        assert parse(str(tree)) == tree
        return
    assert 1 <= wrong.column <= len(text) + 1
    assert len(wrong.pointed.splitlines()) == (3 if text else 1)
    assert all(line.isprintable() for line in wrong.pointed.splitlines())
