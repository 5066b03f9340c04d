"""Tables as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Table", "latex_table", "markdown_table", "markdown_text"]

Table = tuple[Sequence[tuple[str, bool]], Sequence[Sequence[str]]]
"""Columns as (header, whether its cells are numbers), and rows of cells."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "†": r"$^{\dagger}$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def markdown_table(table: Table) -> str:
    r"""Return a table in Markdown, with everything escaped that means something there.

    Examples
    --------
    >>> print(markdown_table(([("run", False), ("RR", True)], [["a|b", "0.5"]])))
    | run | RR |
    | :-- | --: |
    | a\|b | 0.5 |
    """
    columns, cells = table
    lines = [
        [name for name, _ in columns],
        ["--:" if is_number else ":--" for _, is_number in columns],
        *cells,
    ]
    escaped = [[markdown_text(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def markdown_text(text: str) -> str:
    r"""Escape what means something in Markdown or HTML.

    Examples
    --------
    >>> print(markdown_text("a|b*c <img>"))
    a\|b\*c &lt;img>
    """
    escaped = text
    for mark in "\\|*_`":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped.replace("<", "&lt;")


def latex_table(table: Table) -> str:
    r"""Return a tabular for the package booktabs, with everything escaped.

    Examples
    --------
    >>> print(latex_table(([("run", False)], [["a_b†"]])))
    \begin{tabular}{l}
    \toprule
    run \\
    \midrule
    a\_b$^{\dagger}$ \\
    \bottomrule
    \end{tabular}
    """
    columns, cells = table
    shape = "".join("r" if is_number else "l" for _, is_number in columns)
    header, *rows = [_latex_row(line) for line in [[name for name, _ in columns], *cells]]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{shape}}}",
            "\\toprule",
            header,
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _latex_row(cells: Sequence[str]) -> str:
    escaped = ["".join(_LATEX.get(mark, mark) for mark in cell) for cell in cells]
    row = " & ".join(escaped)
    return ("{}" if row.startswith("[") else "") + row + r" \\"  # or \\[ would be a length
