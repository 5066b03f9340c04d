"""Filters as conditions in a database's own language."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval_eval.filters import Equals, Filter, OneOf, Value

__all__ = ["Dialect"]

_LARGEST_INT = 2**63 - 1


@dataclass(frozen=True)
class Dialect:
    """How a language writes conditions.

    Parameters
    ----------
    equals, one_of, both : str
        Its signs for equality, membership, and the joining of conditions.
    brackets : (str, str)
        What stands around the values of a set.
    text : callable
        Quotes a text so that nothing in it can end the quotes; None for one it cannot hold.
    """

    equals: str
    one_of: str
    both: str
    brackets: tuple[str, str]
    text: Callable[[str], str | None]

    def write(self, wanted: Filter, names: Sequence[str], kinds: Sequence[Any]) -> str | None:
        """Write a filter on attributes whose columns are called a0, a1 and so on.

        Parameters
        ----------
        wanted : Filter
            The filter.
        names, kinds : sequence
            Names and polars types of the attributes, in the order of the columns.

        Returns
        -------
        str or None
            None for a value that the language cannot hold.
        """
        parts = []
        for one in wanted.conditions:
            place = names.index(one.column)
            column, is_float = f"a{place}", str(kinds[place]) == "Float64"
            if isinstance(one, Equals):
                pairs: list[tuple[str, tuple[Value, ...]]] = [(self.equals, (one.value,))]
            elif isinstance(one, OneOf):
                pairs = [(self.one_of, one.values)]
            else:
                ends = (("<=", one.high), (">=", one.low))
                pairs = [(sign, (end,)) for sign, end in ends if end is not None]
            for sign, values in pairs:
                written = [self._literal(value, is_float=is_float) for value in values]
                known = [literal for literal in written if literal is not None]
                if len(known) < len(written):
                    return None
                before, after = self.brackets if sign == self.one_of else ("", "")
                parts.append(f"{column} {sign} {before}{', '.join(known)}{after}")
        return self.both.join(parts)

    def _literal(self, value: Value, *, is_float: bool) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return self.text(value)
        if not is_float:
            return str(value) if abs(value) <= _LARGEST_INT else None
        number = float(value)
        return repr(number) if math.isfinite(number) else None
