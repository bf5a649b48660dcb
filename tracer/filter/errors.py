"""What is wrong with a filter, and where."""

from __future__ import annotations

# A longer filter is shown around the place that is meant.
_SHOWN = 72


class FilterError(ValueError):
    """A filter that cannot be understood; its text is one line: where, what is wrong, and what was expected."""

    def __init__(self, problem: str, column: int, text: str = "", *, what: str = "filter") -> None:
        """column: where in `text`, the filter (or what else it is), counted from 1."""
        super().__init__(f"column {column} of the {what}: {problem}")
        self.problem = problem
        self.column = column
        self.text = text

    def within(self, text: str) -> FilterError:
        """Return the same error as one of this filter."""
        return FilterError(self.problem, self.column, text)

    @property
    def pointed(self) -> str:
        """The error's line, then the filter's with a caret below the place."""
        if not self.text:
            return str(self)
        # Each character as one column, whatever it is.
        shown = "".join(each if each.isprintable() else "?" for each in self.text)
        begin = max(self.column - 1 - _SHOWN // 2, 0) if len(shown) > _SHOWN else 0
        return f"{self}\n  {shown[begin : begin + _SHOWN]}\n  {' ' * (self.column - 1 - begin)}^"
