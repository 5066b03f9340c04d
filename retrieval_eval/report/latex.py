"""Tables for a paper: LaTeX with booktabs, marks as superscripts, the best in bold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval_eval.errors import InputError
from retrieval_eval.report.forms import latex_text

__all__ = ["PrintedCell", "PrintedTable", "paper_table"]

_MARKS = {"~": r"\sim"}
_SIGNED = re.compile(r"[+-][0-9.]+")
_LABEL = re.compile(r"[A-Za-z0-9:._/+-]+")


@dataclass(frozen=True)
class PrintedCell:
    """A cell as people see it.

    Parameters
    ----------
    text : str
        A name, or a rounded figure.
    mark : str
        What stands behind it: ``+`` or ``-`` for a significant difference, ``*``, ``~`` for noise.
    letters : str
        Of its significance groups.
    bounds : (str, str) or None
        Its interval, rounded.
    bold : bool
        Whether it is the best.
    """

    text: str
    mark: str = ""
    letters: str = ""
    bounds: tuple[str, str] | None = None
    bold: bool = False


@dataclass(frozen=True)
class PrintedTable:
    """A table as people see it.

    Parameters
    ----------
    columns : sequence of (str, bool)
        Headers, and whether the cells are figures.
    rows : sequence of sequence of PrintedCell
        The cells.
    starts : frozenset of int
        Places of rows with which another dataset or filter begins.
    legend : sequence of str
        What marks mean, in sentences.
    """

    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[PrintedCell]]
    starts: frozenset[int] = frozenset()
    legend: Sequence[str] = ()


def paper_table(
    table: PrintedTable,
    *,
    intervals: str = "none",
    caption: str | None = None,
    label: str | None = None,
    long: bool = False,
) -> str:
    r"""Return a table in LaTeX, for the packages booktabs and, if long, longtable.

    Parameters
    ----------
    table : PrintedTable
        What it shows.
    intervals : {'none', 'brackets', 'subscript'}
        Where intervals stand.
    caption, label : str, optional
        With one of them the tabular stands in a ``table`` of its own. The caption is text, and is
        escaped.
    long : bool
        Whether it may run over several pages.

    Raises
    ------
    InputError
        If the label is none that LaTeX can take.

    Examples
    --------
    >>> cell = PrintedCell("0.4312", mark="-", letters="ab", bounds=("0.40", "0.46"), bold=True)
    >>> row = [PrintedCell("a_b"), cell]
    >>> table = PrintedTable([("run", False), ("RR", True)], [row])
    >>> print(paper_table(table, intervals="subscript"))
    % \usepackage{booktabs}
    \begin{tabular}{lr}
    \toprule
    run & RR \\
    \midrule
    a\_b & \textbf{0.4312}$^{-\,\mathrm{ab}}_{[0.40, 0.46]}$ \\
    \bottomrule
    \end{tabular}
    """
    if label is not None and not _LABEL.fullmatch(label):
        raise InputError(
            f"label {label!r}: use letters, digits and any of ': . _ / + -', such as 'tab:results'"
        )
    shape = "".join("r" if is_number else "l" for _, is_number in table.columns)
    header = _row([latex_text(name) for name, _ in table.columns])
    body = []
    for place, cells in enumerate(table.rows):
        if place and place in table.starts:
            body.append(r"\midrule")
        body.append(_row([_cell(one, intervals) for one in cells]))
    head = [r"\toprule", header, r"\midrule"]
    titles = [
        *([] if caption is None else [f"\\caption{{{latex_text(caption)}}}"]),
        *([] if label is None else [f"\\label{{{label}}}"]),
    ]
    if long:
        title = [f"{''.join(titles)} \\\\"] if titles else []
        lines = [f"\\begin{{longtable}}{{{shape}}}", *title, *head, r"\endfirsthead", *head]
        lines += [r"\endhead", r"\bottomrule", r"\endfoot", *body, r"\end{longtable}"]
    else:
        lines = [f"\\begin{{tabular}}{{{shape}}}", *head, *body, r"\bottomrule", r"\end{tabular}"]
        if titles:
            lines = [r"\begin{table}", r"\centering", *titles, *lines, r"\end{table}"]
    notes = [r"\usepackage{booktabs,longtable}" if long else r"\usepackage{booktabs}"]
    if not all(line.isascii() for line in lines):
        notes.append("not all ASCII: use LuaLaTeX or XeLaTeX, and a font that has these characters")
    comments = [f"% {' '.join(note.split())}" for note in notes]
    # In comments nothing is escaped: they are for whoever writes the caption.
    return "\n".join([*comments, *lines, *(f"% {' '.join(one.split())}" for one in table.legend)])


def _row(cells: Sequence[str]) -> str:
    row = " & ".join(cells)
    # Behind \\ or \midrule, a bracket would be a length, and a star would be swallowed.
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"


def _cell(one: PrintedCell, intervals: str) -> str:
    text = f"${one.text}$" if _SIGNED.fullmatch(one.text) else latex_text(one.text)
    if one.bold:
        text = f"\\textbf{{{text}}}"
    raised = [_MARKS.get(one.mark, one.mark)] if one.mark else []
    raised += [f"\\mathrm{{{one.letters}}}"] if one.letters else []
    above = "^{" + r"\,".join(raised) + "}" if raised else ""
    shown = f"[{', '.join(one.bounds)}]" if one.bounds and intervals != "none" else ""
    below = f"_{{{shown}}}" if shown and intervals == "subscript" else ""
    script = f"${above}{below}$" if above or below else ""
    return text + script + (f" ${shown}$" if shown and intervals == "brackets" else "")
