"""Tables as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Table", "latex_table", "latex_text", "markdown_table", "markdown_text"]

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
    r"""Escape what means something in Markdown or HTML: no link or formula comes of a name.

    Examples
    --------
    >>> print(markdown_text("a|b*c <img>"))
    a\|b\*c &lt;img>
    """
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    safe = "".join(f"\\{mark}" if mark in "\\|*_`~$" else mark for mark in escaped)
    return safe.replace("](", "]\\(")


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


def latex_text(text: str) -> str:
    r"""Escape what means something in LaTeX; other characters stay, in any script.

    White space becomes single spaces, so that no text ends a comment or a paragraph.

    Examples
    --------
    >>> print(latex_text("50 % of a_b & \\c"))
    50 \% of a\_b \& \textbackslash{}c
    """
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(map(latex_text, cells))
    guard = "{}" if row.startswith(("[", "*")) else ""  # or \\[ would be a length, \\* a page
    return guard + row + r" \\"
