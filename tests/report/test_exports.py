"""Exports hold the figures of the sweep: all digits for programs, the terminal's for people."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.report.exports import ExportOptions, export, export_file
from retrieval_eval.report.forms import latex_text
from retrieval_eval.report.groups import significance_groups
from retrieval_eval.report.latex import PrintedCell, PrintedTable, paper_table
from retrieval_eval.report.leaderboard import leaderboard_table
from retrieval_eval.report.terminal import print_leaderboard

Make = Callable[..., Any]
TABLES = {"leaderboard": "rows", "per_query": "per_query", "comparisons": "comparisons"}
LOSSES = {"hnsw": 0.001, "ivf": 0.1, "pq": 0.2}


def same(one: Any, other: Any) -> bool:
    undefined = isinstance(one, float) and math.isnan(one)
    return (undefined and isinstance(other, float) and math.isnan(other)) or one == other


@pytest.mark.parametrize("table", TABLES)
def test_every_value_of_parquet_is_that_of_the_sweep(tiny: Any, table: str) -> None:
    frame = getattr(tiny, TABLES[table])
    content = export(tiny, "parquet", table)
    assert isinstance(content, bytes)
    found = pl.read_parquet(io.BytesIO(content))
    assert found.select(frame.columns).equals(frame)
    assert found.select(frame.columns).schema == frame.schema


@pytest.mark.parametrize("table", TABLES)
def test_every_value_of_json_is_that_of_the_sweep(tiny: Any, table: str) -> None:
    frame = getattr(tiny, TABLES[table])
    found = json.loads(export(tiny, "json", table))
    assert found["sweep"]["sweep_key"] == tiny.manifest["sweep_key"]
    assert len(found["rows"]) == len(frame) > 0
    for mine, own in zip(found["rows"], frame.iter_rows(named=True), strict=True):
        assert {name: mine[name] for name in own} == own


@pytest.mark.parametrize("table", TABLES)
def test_every_value_of_csv_is_that_of_the_sweep(tiny: Any, table: str) -> None:
    frame = getattr(tiny, TABLES[table])
    text = export(tiny, "csv", table)
    assert isinstance(text, str)
    records = list(csv.DictReader(io.StringIO(text)))
    assert len(records) == len(frame)
    checked = 0
    for mine, own in zip(records, frame.iter_rows(named=True), strict=True):
        for name, value in own.items():
            if isinstance(value, bool):
                assert mine[name] == str(value).lower()
            elif isinstance(value, int | float):
                assert type(value)(mine[name]) == value
                checked += 1
            else:
                assert mine[name] == (value or "")
    assert checked > len(frame)


def test_what_is_undefined_is_told_from_what_is_unknown(made: Make) -> None:
    sweep = made(LOSSES)
    scores = pl.Series("nDCG@10", [float("nan"), None, *sweep.per_query["nDCG@10"][2:]])
    sweep = replace(sweep, per_query=sweep.per_query.with_columns(scores))
    lines = str(export(sweep, "csv", "per_query")).splitlines()
    assert lines[1].endswith(",NaN")
    assert lines[2].endswith(",")
    rows = json.loads(export(sweep, "json", "per_query"))["rows"]
    assert [row["nDCG@10"] for row in rows[:2]] == [None, None]
    assert "nan" not in str(export(sweep, "markdown", "per_query")).lower()


def test_cells_hold_the_unrounded_figures_of_the_rows(tiny: Any) -> None:
    board = leaderboard_table(tiny)
    frame = tiny.rows
    for row, own in zip(board.rows, frame.iter_rows(named=True), strict=True):
        assert row.row_id == own["row_id"]
        for column in board.columns:
            cell = row.cells[column.name]
            if column.kind != "margin":
                assert same(cell.value, own[column.name])
            if column.kind == "measure":
                assert (cell.low, cell.high) == (own[f"{column.name}_lo"], own[f"{column.name}_hi"])
    shown = {one.name for one in board.columns}
    shown |= {f"{name}{end}" for name in ("nDCG@10", "R@20") for end in ("_lo", "_hi")}
    assert shown == {*frame.columns, "nDCG@10_noninferior"}


def test_marks_letters_and_the_best_stand_where_they_belong(made: Make) -> None:
    sweep = made(LOSSES, margin={"nDCG@10": 0.05}, noise={"ivf": "searching: busy"})
    board = leaderboard_table(sweep, groups=significance_groups(sweep))
    cells = {row.cells["configuration"].value: row.cells for row in board.rows}
    marks = {name: one["nDCG@10"].mark for name, one in cells.items()}
    assert marks == {"flat": "", "hnsw": "", "ivf": "-", "pq": "-"}
    letters = {name: one["nDCG@10"].group for name, one in cells.items()}
    assert letters == {"flat": "a", "hnsw": "a", "ivf": "b", "pq": "c"}
    held = {name: one["nDCG@10_noninferior"].value for name, one in cells.items()}
    assert held == {"flat": None, "hnsw": True, "ivf": False, "pq": False}
    assert [name for name, one in cells.items() if one["nDCG@10"].best] == ["flat"]
    assert [name for name, one in cells.items() if one["qps"].mark == "~"] == ["ivf"]
    assert cells["ivf"]["build_s"].mark == ""
    found = pl.read_parquet(io.BytesIO(bytes(export(sweep, "parquet", groups=True))))
    assert found["nDCG@10_group"].to_list() == list(letters.values())
    assert found["nDCG@10_mark"].to_list() == list(marks.values())
    assert found["nDCG@10_noninferior"].to_list() == list(held.values())
    assert found["nDCG@10_best"].to_list() == [True, False, False, False]


def test_equally_good_rows_are_all_the_best(made: Make) -> None:
    sweep = made(LOSSES)
    means = pl.Series("nDCG@10", [0.5, 0.5 + 1e-12, 0.5 - 1e-8, 0.3])
    board = leaderboard_table(replace(sweep, rows=sweep.rows.with_columns(means)))
    assert [row.cells["nDCG@10"].best for row in board.rows] == [True, True, False, False]


def split_line(line: str) -> list[str]:
    """Take a line of a Markdown table apart, as a renderer does."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    return [re.sub(r"\\([\\|*_`\[\]~$])", r"\1", cell) for cell in cells]


SHOWN = re.compile(
    r"(?P<bold>\*\*)?(?P<value>[0-9.]+)(?P<mark>[-+]?)(\*\*)? (?P<letters>[a-z]+) "
    r"\[(?P<low>[0-9.]+), (?P<high>[0-9.]+)\]"
)


def test_markdown_reads_back_as_the_rounded_figures(made: Make) -> None:
    sweep = made(LOSSES)
    lines = str(export(sweep, "markdown", groups=True)).splitlines()
    header = split_line(lines[0])
    bold = []
    for line, own in zip(lines[2:6], sweep.rows.iter_rows(named=True), strict=True):
        cells = dict(zip(header, split_line(line), strict=True))
        found = SHOWN.fullmatch(cells["nDCG@10"])
        assert found
        assert found["value"] == f"{own['nDCG@10']:.4f}"
        assert found["low"] == f"{own['nDCG@10_lo']:.3f}"
        assert found["high"] == f"{own['nDCG@10_hi']:.3f}"
        bold.append(bool(found["bold"]))
        assert cells["p95 ms"] == f"{own['latency_p95_s'] * 1000:.3f}"
        assert cells["queries /s"] == f"{own['qps']:.0f}"
        assert cells["index MB"] == f"{own['size_bytes'] / 1e6:.2f}"
    assert bold == [True, False, False, False]


def test_people_see_the_texts_of_the_terminal(
    made: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = made(LOSSES, margin={"nDCG@10": 0.05}, noise={"ivf": "searching: busy"}, failed=("pq",))
    print_leaderboard(sweep.rows, sweep.comparisons, sweep.manifest, Path("somewhere"))
    terminal = [line.split() for line in capsys.readouterr().out.splitlines()]
    lines = str(export(sweep, "markdown", bold=False)).splitlines()
    mine = [" ".join(split_line(line)).split() for line in lines[2:6]]
    assert mine == terminal[2:6]
    assert [part for part in lines if "~: timed on a noisy machine" in part.replace("\\", "")]


def test_latex_reads_back_as_the_rounded_figures(made: Make) -> None:
    sweep = made(LOSSES)
    text = str(export(sweep, "latex", groups=True, intervals="subscript"))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    header, *rows = [line.removesuffix(r" \\").split(" & ") for line in rows]
    pattern = re.compile(
        r"(\\textbf\{)?([0-9.]+)\}?\$\^\{(?:([-+])\\,)?\\mathrm\{([a-z]+)\}\}"
        r"_\{\[([0-9.]+), ([0-9.]+)\]\}\$"
    )
    seen = []
    for cells, own in zip(rows, sweep.rows.iter_rows(named=True), strict=True):
        line = dict(zip(header, cells, strict=True))
        found = pattern.fullmatch(line["nDCG@10"])
        assert found, line["nDCG@10"]
        bold, value, mark, letters, low, high = found.groups()
        assert value == f"{own['nDCG@10']:.4f}"
        assert (low, high) == (f"{own['nDCG@10_lo']:.3f}", f"{own['nDCG@10_hi']:.3f}")
        seen.append((bool(bold), mark, letters))
        assert line["build s"] == f"{own['build_s']:.2f}"
    assert seen == [
        *((True, None, "a"), (False, None, "a")),
        *((False, "-", "b"), (False, "-", "c")),
    ]
    assert "subscript" not in text
    assert "$^{-}$ $[0." in str(export(sweep, "latex", intervals="brackets"))
    assert "[0." not in str(export(sweep, "latex", intervals="none")).split("% ")[1]


def test_names_with_specials_stay_text(tiny: Any, specials: str) -> None:
    latex = str(export(tiny, "latex", caption=specials, label="tab:one"))
    escaped = (
        r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k "
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} [x](y) "
        r"\textbar{}*` شريط 🚀"
    )
    assert latex_text(specials) == escaped
    assert f"\\caption{{{escaped}}}" in latex
    assert "\\label{tab:one}" in latex
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert sum(line.startswith(f"{escaped} & ") for line in body) == 3
    assert "LuaLaTeX" in latex
    lines = str(export(tiny, "markdown")).splitlines()
    for line in lines[2:]:
        assert "<" not in line
        assert not re.search(r"(?<!\\)\](?=\()", line)
    assert "| a&amp;b%" in lines[5]  # or '&copy;' would be another sign
    found = split_line(lines[5])[0].replace("&lt;", "<").replace("&amp;", "&").replace("\\(", "(")
    assert found == specials
    content = json.loads(export(tiny, "json"))
    assert content["rows"][3]["encoder"] == specials


def test_no_name_ends_a_comment_or_a_row_of_latex() -> None:
    table = PrintedTable(
        [("a\nb", False)],
        [[PrintedCell("[2cm] x\n\\input{y}")], [PrintedCell("* y")], [PrintedCell("-0.1")]],
        frozenset({0, 1}),
        ["told:\n\\input{z}"],
    )
    lines = paper_table(table).splitlines()
    assert r"{}[2cm] x \textbackslash{}input\{y\} \\" in lines
    assert lines[lines.index(r"{}* y \\") - 1] == r"\midrule"
    assert r"$-0.1$ \\" in lines
    assert lines[-1] == r"% told: \input{z}"
    assert lines.count(r"\midrule") == 2


def test_long_tables_repeat_their_header(made: Make) -> None:
    text = str(export(made(LOSSES), "latex", "per_query", long=True, caption="All", label="t"))
    assert text.count("query & nDCG@10") == 2
    assert r"\begin{longtable}{lllllr}" in text
    assert "\\caption{All}\\label{t} \\\\" in text
    assert text.count("q0") == 160
    assert r"\begin{table}" not in text


def test_comparisons_show_difference_interval_and_answer(made: Make) -> None:
    sweep = made(LOSSES, margin={"nDCG@10": 0.05})
    lines = str(export(sweep, "markdown", "comparisons")).splitlines()
    header = split_line(lines[0])
    for line, own in zip(lines[2:5], sweep.comparisons.iter_rows(named=True), strict=True):
        cells = dict(zip(header, split_line(line), strict=True))
        star = "*" if own["significant"] else ""
        assert cells["difference"] == (
            f"{own['difference']:+.4f}{star} "
            f"[{own['difference_lo']:+.3f}, {own['difference_hi']:+.3f}]"
        )
        assert cells["win/tie/loss"] == f"{own['wins']}/{own['ties']}/{own['losses']}"
        assert cells["not worse by"].startswith("0.05: yes" if own["noninferior"] else "0.05: not")


def test_columns_are_chosen_by_their_names(made: Make) -> None:
    sweep = made(LOSSES)
    names = ["configuration", "nDCG@10", "build_s"]
    lines = str(export(sweep, "markdown", columns=names)).splitlines()
    assert split_line(lines[0]) == ["index", "nDCG@10", "build s"]
    header = str(export(sweep, "csv", columns=names)).splitlines()[0]
    ends = ("", "_lo", "_hi", "_mark", "_best")
    assert header.split(",") == [
        *("row_id", "configuration"),
        *(f"nDCG@10{end}" for end in ends),
        "build_s",
    ]
    with pytest.raises(InputError, match="Did you mean 'build_s'"):
        export(sweep, "csv", columns=["built_s"])


def test_datasets_and_filters_stand_together(made: Make) -> None:
    one, other = made(LOSSES), made(LOSSES, dataset="web", seed=1)
    mixed = [frame[i] for i in range(4) for frame in (one.rows, other.rows)]
    both = replace(
        one,
        rows=pl.concat(mixed),
        comparisons=pl.concat([one.comparisons, other.comparisons]),
        per_query=pl.concat([one.per_query, other.per_query]),
    )
    board = leaderboard_table(both)
    printed = board.printed()
    assert [row[0].text for row in printed.rows] == ["news"] * 4 + ["web"] * 4
    assert printed.starts == {0, 4}
    assert sum(row.cells["nDCG@10"].best for row in board.rows) == 2
    only = leaderboard_table(both, datasets=["web"])
    assert {row.dataset for row in only.rows} == {"web"}
    with pytest.raises(InputError, match="webb"):
        leaderboard_table(both, datasets=["webb"])


@pytest.mark.parametrize(
    ("form", "table", "settings", "told"),
    [
        ("cvs", "leaderboard", {}, "Did you mean 'csv'"),
        ("csv", "leader", {}, "table"),
        ("csv", "leaderboard", {"caption": "x"}, "caption: has no effect"),
        ("markdown", "leaderboard", {"label": "x"}, "label: has no effect"),
        ("json", "per_query", {"groups": True}, "groups: has no effect"),
        ("latex", "comparisons", {"bold": False}, "bold: has no effect"),
        ("markdown", "leaderboard", {"intervals": "subscript"}, "only LaTeX"),
        ("latex", "leaderboard", {"intervals": "below"}, "place of intervals"),
        ("latex", "leaderboard", {"label": "a b"}, "label 'a b'"),
        ("csv", "leaderboard", {"across_encoders": True}, "without groups"),
        ("csv", "leaderboard", {"colums": ["a"]}, "Did you mean 'columns'"),
    ],
)
def test_bad_options_are_refused(
    made: Make, form: str, table: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        export(made(LOSSES), form, table, **settings)


def test_files_are_written_by_their_suffix(made: Make, tmp_path: Path) -> None:
    sweep = made(LOSSES)
    options = ExportOptions(columns=["configuration"])
    for name in ("a.csv", "b.json", "c.parquet", "d.md", "e.tex"):
        path = export_file(sweep, tmp_path / name, options=options)
        assert path.stat().st_size > 0
    assert (tmp_path / "a.csv").read_bytes().decode() == export(sweep, "csv", options=options)
    assert pl.read_csv(tmp_path / "a.csv")["configuration"].to_list() == ["flat", *LOSSES]
    with pytest.raises(InputError, match=r"the suffix must be one of \.csv"):
        export_file(sweep, tmp_path / "a.txt")
    with pytest.raises(InputError, match="cannot be written"):
        export_file(sweep, tmp_path / "nowhere" / "a.csv")
