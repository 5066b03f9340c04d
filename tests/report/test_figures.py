"""Figures show what was measured, as it was measured, and render without a browser."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval.comparison.effects import wins_ties_losses
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.errors import InputError
from retrieval_eval.report import figures
from retrieval_eval.selection import find_fronts

ODD = "<script>alert(\"x\")</script> & 'q' \\ שלום 🦊"
MEASURE = "nDCG@10"
COSTS = ("latency_p50_s", "latency_p95_s", "qps", "size_bytes", "peak_rss_bytes", "build_s")
SETTINGS: dict[str, tuple[str, list[int | None]]] = {
    "flat": ("", [None]),
    "hnsw": ("ef", [16, 32, 64, 128, 256]),
    "ivf-flat": ("nprobe", [1, 2, 4, 8, 16]),
}


def make_rows(
    encoders: tuple[str, ...] = ("lsa", ODD),
    datasets: tuple[str, ...] = ("cranfield",),
    filters: tuple[str | None, ...] = (None,),
    graphs: tuple[int, ...] = (16,),
) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    records: list[dict[str, Any]] = []
    for dataset, filter_, encoder, index in itertools.product(
        datasets, filters, encoders, SETTINGS
    ):
        name, values = SETTINGS[index]
        for graph, value in itertools.product(graphs if index == "hnsw" else (0,), values):
            build = {"M": graph} if graph else {}
            search = {name: value} if value else {}
            quality, seconds = rng.uniform(0.1, 0.9), 10 ** rng.uniform(-5, -3)
            words = [index, *(f"{key}={one}" for key, one in {**build, **search}.items())]
            noisy = len(records) % 4 == 0
            records.append(
                {
                    "row_id": f"{len(records):032x}",
                    "dataset": dataset,
                    "encoder": encoder,
                    "index": index,
                    "configuration": " ".join(words),
                    "build_params": json.dumps(build),
                    "search_params": json.dumps(search),
                    "filter": filter_,
                    "status": "ok",
                    "message": "",
                    "is_reference": index == "flat",
                    MEASURE: quality,
                    f"{MEASURE}_lo": quality - rng.uniform(0, 0.05),
                    f"{MEASURE}_hi": quality + rng.uniform(0, 0.05),
                    "neighbour_recall@10": rng.uniform(0.4, 1),
                    "latency_p50_s": seconds,
                    "latency_p95_s": 2 * seconds,
                    "qps": 1 / seconds,
                    "size_bytes": int(rng.integers(10**6, 10**9)),
                    "peak_rss_bytes": int(rng.integers(10**8, 10**9)),
                    "build_s": rng.uniform(0.1, 30),
                    "noise": "searching: others kept 1.7 cores busy" if noisy else "",
                }
            )
    return pl.DataFrame(records, infer_schema_length=None)


def without(rows: pl.DataFrame, place: int, status: str, *columns: str) -> pl.DataFrame:
    """The rows with one that lost figures."""
    here = pl.int_range(pl.len()) == place
    return rows.with_columns(
        pl.when(here).then(pl.lit(status)).otherwise("status").alias("status"),
        *(pl.when(~here).then(pl.col(name)).alias(name) for name in columns),
    )


def make_scores(queries: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    reference = rng.random(queries).round(2)
    moved = np.where(rng.random(queries) < 0.7, 0, rng.normal(0, 0.2, queries))
    ids = [f"{ODD} {number}" for number in range(queries)]
    return pl.concat(
        pl.DataFrame({"row_id": row_id, "query_id": ids, MEASURE: scores})
        for row_id, scores in (("r", reference), ("c", np.clip(reference + moved, 0, 1)))
    )


def make_comparisons() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    records = []
    pairs = [
        ("index", f"{encoder} | flat", f"{encoder} | hnsw ef={ef}")
        for encoder in ("lsa", ODD)
        for ef in (10, 20, 30)
    ]
    pairs.append(("encoder", "lsa | flat", f"{ODD} | flat"))
    for number, (question, reference, candidate) in enumerate(pairs):
        difference = rng.normal(0, 0.01)
        p = 10 ** rng.uniform(-4, 0)
        records.append(
            {
                "dataset": "cranfield",
                "question": question,
                "reference_row_id": f"r{number}",
                "candidate_row_id": f"c{number}",
                "reference": reference,
                "candidate": candidate,
                "measure": MEASURE,
                "difference": difference,
                "difference_lo": difference - 0.01,
                "difference_hi": difference + 0.01,
                "effect": difference * 20,
                "p": p,
                "p_adjusted": None if number == 2 else min(1.0, 3 * p),
                "significant": 3 * p < 0.05,
                "test": "randomization",
                "correction": "holm",
                "alpha": 0.05,
                "family": "dataset cranfield: 7 comparisons",
            }
        )
    return pl.DataFrame(records)


ROWS = make_rows()
SCORES = make_scores()
COMPARISONS = make_comparisons()
FIGURES: dict[str, Callable[..., figures.Figure]] = {
    "tradeoff": lambda **more: figures.tradeoff(ROWS, MEASURE, "latency_p95_s", **more),
    "recall": lambda **more: figures.recall_against_quality(ROWS, MEASURE, **more),
    "curves": lambda **more: figures.parameter_curves(ROWS, "ef", MEASURE, **more),
    "bars": lambda **more: figures.differences(SCORES, "r", "c", MEASURE, kind="bars", **more),
    "histogram": lambda **more: figures.differences(
        SCORES, "r", "c", MEASURE, kind="histogram", **more
    ),
    "pairs": lambda **more: figures.p_matrix(COMPARISONS, "cranfield", MEASURE, **more),
}


def data(figure: figures.Figure, name: str = "rows") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = figure["datasets"][name]
    return found


def words(figure: figures.Figure) -> str:
    return " ".join([*figure["title"]["text"], *figure["title"]["subtitle"]])


def nested(value: object) -> Iterator[dict[str, Any]]:
    """Every mapping within a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from nested(one)


def check_equal(records: list[dict[str, Any]], rows: pl.DataFrame, columns: dict[str, str]) -> None:
    known = {row["row_id"]: row for row in rows.iter_rows(named=True)}
    assert records
    assert len({record["row_id"] for record in records}) == len(records)
    for record in records:
        row = known[record["row_id"]]
        for name in ("encoder", "index", "configuration"):
            assert record[name] == row[name]
        for name, column in columns.items():
            assert record.get(name) == row[column], (name, column)


@pytest.mark.parametrize("cost", COSTS)
def test_every_number_of_a_trade_off_equals_the_table(cost: str) -> None:
    rows = without(ROWS, 3, "ok", f"{MEASURE}_lo", f"{MEASURE}_hi")
    figure = figures.tradeoff(rows, MEASURE, cost)

    assert len(data(figure)) == len(rows)
    columns = {"x": cost, "y": MEASURE, "low": f"{MEASURE}_lo", "high": f"{MEASURE}_hi"}
    check_equal(data(figure), rows, columns)


def test_every_number_of_recall_and_curves_equals_the_table() -> None:
    own = {"y": MEASURE, "low": f"{MEASURE}_lo", "high": f"{MEASURE}_hi"}
    recall = data(FIGURES["recall"]())
    assert len(recall) == len(ROWS)
    check_equal(recall, ROWS, {"x": "neighbour_recall@10", **own})

    curves = data(FIGURES["curves"]())
    hnsw = ROWS.filter(index="hnsw")
    assert len(curves) == len(hnsw)
    check_equal(curves, hnsw, own)
    settings = dict(hnsw.select("row_id", "search_params").iter_rows())
    assert all(json.loads(settings[one["row_id"]]) == {"ef": one["x"]} for one in curves)


@pytest.mark.parametrize("cost", ["latency_p95_s", "qps"])
def test_the_front_drawn_is_the_front_found(cost: str) -> None:
    rows = make_rows(datasets=("a", "b"), filters=(None, "year > 1"))
    figure = figures.tradeoff(rows, MEASURE, cost)

    drawn = {record["row_id"] for record in data(figure) if record.get("front")}
    fronts = find_fronts(rows, [MEASURE, cost])
    assert drawn == {row["row_id"] for front in fronts for row in front.rows}
    step = next(
        one["mark"]["interpolate"] for one in nested(figure) if "interpolate" in one.get("mark", "")
    )
    assert step == ("step-before" if cost == "qps" else "step-after")


def test_rows_that_failed_or_lack_a_figure_are_left_out_and_counted() -> None:
    rows = without(ROWS, 0, "failed", MEASURE, "latency_p95_s")
    rows = without(rows, 1, "skipped", MEASURE)
    rows = without(rows, 2, "ok", "latency_p95_s").with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(np.nan).otherwise(MEASURE).alias(MEASURE)
    )
    # A figure of a row that failed is no figure, even where the table holds one.
    rows = without(rows, 5, "failed")
    rows = without(rows, 2, "ok", "latency_p95_s")
    figure = figures.tradeoff(rows, MEASURE, "latency_p95_s")

    ids = ROWS["row_id"].to_list()
    assert [one["row_id"] for one in data(figure)] == [
        row_id for place, row_id in enumerate(ids) if place not in {0, 1, 2, 4, 5}
    ]
    text = words(figure)
    assert f"{len(ROWS) - 5} rows; not shown: 2 failed, 1 skipped, " in text
    assert "1 without latency_p95_s, 1 without nDCG@10." in text


def test_only_noise_of_what_was_timed_makes_a_mark_hollow() -> None:
    parts = ["searching: s", "building: b", "searching: s; building: b", ""]
    rows = ROWS.with_columns(noise=pl.Series([parts[n % 4] for n in range(len(ROWS))]))

    def noisy(cost: str) -> list[str | None]:
        return [one.get("noise") for one in data(figures.tradeoff(rows, MEASURE, cost))][:4]

    assert noisy("latency_p95_s") == ["s", None, "s", None]
    assert noisy("build_s") == [None, "b", "b", None]
    assert noisy("size_bytes") == [None] * 4
    assert "Hollow" not in words(figures.tradeoff(rows, MEASURE, "size_bytes"))


def test_curves_of_quality_have_no_noise() -> None:
    assert not any("noise" in one for one in data(figures.parameter_curves(ROWS, "ef", MEASURE)))
    assert any("noise" in one for one in data(figures.parameter_curves(ROWS, "ef", "qps")))


def test_control_characters_do_not_spoil_a_drawing(tmp_path: Path) -> None:
    figure = figures.tradeoff(make_rows(encoders=("a\0b\x1b", "c")), MEASURE, "qps")
    assert data(figure)[0]["encoder"] == "a\ufffdb\ufffd"
    svg = figures.save(figure, tmp_path / "a.svg").read_bytes()
    assert b"\0" not in svg
    assert "a\ufffdb\ufffd" in svg.decode()


def test_an_axis_is_logarithmic_if_its_figures_span_a_decade() -> None:
    def scale(rows: pl.DataFrame, **more: Any) -> str | None:
        figure = figures.tradeoff(rows, MEASURE, "build_s", **more)
        found = [one for one in nested(figure) if "scale" in one and one.get("field") == "x"]
        kind: str | None = found[0]["scale"].get("type")
        return kind

    near = ROWS.with_columns(build_s=1.0 + pl.int_range(pl.len()) / 10)
    assert scale(ROWS) == "log"
    assert scale(ROWS, log=False) is None
    assert scale(near) is None
    assert scale(near, log=True) == "log"
    zero = ROWS.with_columns(build_s=pl.int_range(pl.len()).cast(pl.Float64))
    assert scale(zero) is None
    with pytest.raises(InputError, match="values above 0, and one is 0"):
        scale(zero, log=True)


def test_datasets_and_filters_are_panels_or_chosen() -> None:
    rows = make_rows(datasets=("a", "b"), filters=(None, "year > 1"))
    every = figures.tradeoff(rows, MEASURE, "qps")
    assert [one["panel"] for one in data(every)][:: len(ROWS)] == [
        "a, no filter",
        "a, filter year > 1",
        "b, no filter",
        "b, filter year > 1",
    ]
    one = figures.tradeoff(rows, MEASURE, "qps", datasets=["b"], filters=[None])
    chosen = rows.filter(pl.col("dataset") == "b", pl.col("filter").is_null())
    assert [record["row_id"] for record in data(one)] == chosen["row_id"].to_list()
    assert "facet" not in one
    assert "Dataset b." in words(one)


def test_an_unmeasured_reference_has_a_line_of_its_quality_and_no_mark() -> None:
    rows = without(ROWS, 0, "ok", "neighbour_recall@10")
    figure = figures.recall_against_quality(rows, MEASURE)
    first = data(figure)[0]
    assert first["reference"]
    assert "x" not in first
    assert first["y"] == rows[MEASURE][0]
    assert "1 without neighbour_recall@10" in words(figure)


def test_parameters_that_vary_are_found_by_index() -> None:
    assert figures.varying_parameters(ROWS) == {"ef": ("hnsw",), "nprobe": ("ivf-flat",)}
    graphs = make_rows(graphs=(8, 32))
    assert figures.varying_parameters(graphs)["M"] == ("hnsw",)
    others = {one["others"] for one in data(figures.parameter_curves(graphs, "ef", "qps"))}
    assert others == {"M=8", "M=32"}
    both = ROWS.with_columns(build_params="search_params")
    assert set(figures.varying_parameters(both)) == {
        "search.ef",
        "build.ef",
        "search.nprobe",
        "build.nprobe",
    }


@pytest.mark.parametrize("kind", ["bars", "histogram"])
def test_differences_are_those_of_the_scores(kind: str) -> None:
    figure = figures.differences(SCORES, "r", "c", MEASURE, kind=kind)
    wide = SCORES.pivot("row_id", index="query_id", values=MEASURE)
    paired = PairedScores(wide.select("c", "r").to_numpy().T, np.array([[0, 1]]))
    wins, ties, losses = wins_ties_losses(paired)[0].tolist()
    assert f"300 queries: {wins} better, {losses} worse, {ties} equal" in words(figure)
    assert data(figure, "mean") == [{"mean": paired.means[0]}]
    found = data(figure, "differences")
    expected = {
        row["query_id"]: (row["c"] - row["r"], row["c"], row["r"])
        for row in wide.iter_rows(named=True)
        if row["c"] != row["r"]
    }
    if kind == "bars":
        assert {
            one["query_id"]: (one["difference"], one["candidate"], one["reference"])
            for one in found
        } == expected
        heights = [one["difference"] for one in found]
        assert heights == sorted(heights)
        return
    values = [difference for difference, _, _ in expected.values()]
    for one in found:
        low, high = one["low"], one["high"]
        slack = 1e-9 if one["side"] == "better" else -1e-9  # scores that add up to an edge
        inside = [value for value in values if low + slack < value < high + slack]
        assert len(inside) == one["queries"] > 0
        assert (low >= 0) if one["side"] == "better" else (high <= 0)
    assert sum(one["queries"] for one in found) == wins + losses


def test_a_difference_on_the_edge_of_a_bin_falls_towards_zero() -> None:
    scores = pl.DataFrame(
        {
            "row_id": ["r"] * 4 + ["c"] * 4,
            "query_id": ["1", "2", "3", "4"] * 2,
            MEASURE: [0.0, 0.3, 0.0, 0.5, 1.0, 0.0, 0.1, 0.5],
        }
    )
    figure = figures.differences(scores, "r", "c", MEASURE, kind="histogram")
    bins = [(one["low"], one["high"], one["queries"]) for one in data(figure, "differences")]
    assert bins == [(-0.3, -0.25, 1), (0.05, 0.1, 1), (0.95, 1.0, 1)]


def test_differences_of_equal_rows_are_counted_and_not_drawn() -> None:
    same = SCORES.filter(row_id="r")
    scores = pl.concat([same, same.with_columns(row_id=pl.lit("c"))])
    for kind in ("auto", "histogram"):
        figure = figures.differences(scores, "r", "c", MEASURE, kind=kind)
        assert data(figure, "differences") == []
        assert "0 better, 0 worse, 300 equal" in words(figure)


def test_many_queries_make_a_small_figure() -> None:
    figure = figures.differences(make_scores(100_000), "r", "c", MEASURE)
    assert len(data(figure, "differences")) <= 40
    assert len(json.dumps(figure)) < 10_000


@pytest.mark.parametrize("show", ["p", "effect", "difference"])
def test_every_number_of_a_matrix_equals_the_comparisons(show: str) -> None:
    figure = figures.p_matrix(COMPARISONS, "cranfield", MEASURE, show=show)
    drawn = [*data(figure, "index"), *data(figure, "encoder")]
    known = {row["candidate_row_id"]: row for row in COMPARISONS.iter_rows(named=True)}
    assert len(drawn) == len(known)
    for record in drawn:
        row = known[record["candidate_row_id"]]
        for name in ("p", "p_adjusted", "effect", "difference", "difference_lo", "significant"):
            assert record.get(name) == row[name]
        shown = row["p_adjusted"] if show == "p" else row[show]
        assert record["text"][0] == ("▲" if row["difference"] > 0 else "▼")
        if shown is None:
            assert record["text"].endswith("\u2013")
            assert record["level"] == "no p value"
        else:
            assert float(record["text"][2:]) == pytest.approx(abs(shown), rel=0.06, abs=5e-4)
    assert {record["row"] for record in data(figure, "index")} == {
        "hnsw ef=10",
        "hnsw ef=20",
        "hnsw ef=30",
    }


def test_a_matrix_keeps_the_candidates_with_the_largest_effects() -> None:
    figure = figures.p_matrix(
        COMPARISONS, "cranfield", MEASURE, most=1, questions=["index"], show="effect"
    )
    index = COMPARISONS.filter(question="index")
    strongest = index.sort(pl.col("effect").abs())["candidate"][-1]
    assert strongest.endswith(data(figure, "index")[0]["row"])
    assert "4 candidates with smaller effects are not shown" in json.dumps(figure)


def test_too_many_rows_are_thinned_and_the_front_stays() -> None:
    rows = make_rows(graphs=tuple(range(2, 80)))
    # Two of the front that lie on one spot, of one encoder and index.
    spot = pl.int_range(pl.len())
    rows = rows.with_columns(
        pl.when(spot.is_in([5, 6]))
        .then(0.95 + spot * 1e-9)
        .when(spot == 7)
        .then(1.0)
        .otherwise(MEASURE)
        .alias(MEASURE),
        latency_p95_s=pl.when(spot.is_in([5, 6]))
        .then(1e-6 + spot * 1e-12)
        .otherwise("latency_p95_s"),
    )
    whole = figures.tradeoff(rows, MEASURE, "latency_p95_s")
    few = figures.tradeoff(rows, MEASURE, "latency_p95_s", most=100)
    assert len(data(whole)) == len(rows) > 700
    assert 50 <= len(data(few)) <= 100
    assert f"{len(data(few))} of {len(rows)} rows" in words(few)
    check_equal(data(few), rows, {"x": "latency_p95_s", "y": MEASURE})

    def front(figure: figures.Figure) -> set[str]:
        return {one["row_id"] for one in data(figure) if one.get("front")}

    assert front(few) == front(whole) >= set(rows["row_id"][5:7])
    with pytest.raises(InputError, match="the most for curves"):
        figures.parameter_curves(rows, "ef", MEASURE, most=100)


def test_the_figure_of_500_rows_is_below_300_kilobytes() -> None:
    rows = make_rows(graphs=tuple(range(2, 50))).head(500)
    noise = "searching: others kept 1.7 cores busy, the slowest repeat took 2.3 x the fastest"
    rows = rows.with_columns(noise=pl.lit(noise))
    for figure in (
        figures.tradeoff(rows, MEASURE, "latency_p95_s"),
        figures.recall_against_quality(rows, MEASURE),
        figures.parameter_curves(rows, "ef", "qps"),
    ):
        assert len(json.dumps(figure).encode()) < 300_000


def test_names_beyond_what_colours_tell_apart_share_an_entry() -> None:
    rows = make_rows(encoders=tuple(f"model {number}" for number in range(20)))
    number = pl.col("encoder").str.strip_prefix("model ").cast(pl.Float64)
    rows = rows.with_columns(number.alias(MEASURE) / 20)
    figure = figures.tradeoff(rows, MEASURE, "qps")
    domains = {
        tuple(one["color"]["scale"]["domain"])
        for one in nested(figure)
        if "scale" in one.get("color", "")
    }
    best = [f"model {number}" for number in range(13, 20)]
    assert domains == {(*best, "13 other encoders")}
    assert data(figure)[0]["encoder"] == "model 0"
    assert data(figure)[0]["encoder_shown"] == "13 other encoders"


@pytest.mark.parametrize(
    ("name", "theme"),
    [*((name, "light") for name in FIGURES), ("tradeoff", "dark"), ("pairs", "print")],
)
def test_figures_are_valid_and_draw_odd_texts_as_text(
    name: str, theme: str, tmp_path: Path
) -> None:
    figure = FIGURES[name](theme=theme)
    import altair

    altair.Chart.from_dict(figure).to_dict()  # checks it against the schema
    svg = figures.save(figure, tmp_path / "figure.svg").read_text(encoding="utf-8")
    from lxml import etree

    assert etree.fromstring(svg.encode()).tag.endswith("svg")
    assert "<script" not in svg
    assert "<image" not in svg
    if name not in ("bars", "histogram"):  # whose texts are in tooltips alone
        assert "שלום" in svg
        assert "&lt;script&gt;" in svg


@pytest.mark.parametrize("name", FIGURES)
def test_figures_name_no_address_but_their_schema(name: str) -> None:
    figure = FIGURES[name]()
    rest = {key: value for key, value in figure.items() if key != "$schema"}
    assert "http" not in json.dumps(rest)
    assert not any("url" in one for one in nested(rest))


@pytest.mark.parametrize("name", FIGURES)
def test_equal_figures_give_equal_specifications(name: str, tmp_path: Path) -> None:
    first = figures.save(FIGURES[name](), tmp_path / "1.json").read_bytes()
    second = figures.save(FIGURES[name](), tmp_path / "2.json").read_bytes()
    assert first == second
    assert json.loads(first) == FIGURES[name]()


@pytest.mark.parametrize("name", ["tradeoff", "pairs"])
def test_equal_figures_give_equal_drawings(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name](**({"show": "effect"} if name == "pairs" else {}))
    first = figures.save(figure, tmp_path / "1.svg").read_bytes()
    assert figures.save(figure, tmp_path / "2.svg").read_bytes() == first
    if name == "tradeoff":
        return
    script = (
        "import json, sys\n"
        "from retrieval_eval.report.figures import save\n"
        "save(json.load(open(sys.argv[1], encoding='utf-8')), sys.argv[2])\n"
    )
    known = figures.save(figure, tmp_path / "1.json")
    command = [sys.executable, "-c", script, str(known), str(tmp_path / "3.svg")]
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "3.svg").read_bytes() == first


def test_a_png_grows_with_its_scale_and_a_pdf_is_one(tmp_path: Path) -> None:
    figure = FIGURES["curves"](theme="print")

    def size(scale: float) -> tuple[int, int]:
        content = figures.save(figure, tmp_path / "a.PNG", scale=scale).read_bytes()
        assert content.startswith(b"\x89PNG")
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")

    small, large = size(1), size(3)
    assert large == pytest.approx([3 * one for one in small], abs=3)
    assert figures.save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.PNG", "a.pdf"]


@pytest.mark.parametrize("name", ["tradeoff", "curves"])
def test_a_printed_figure_fits_a_column(name: str, tmp_path: Path) -> None:
    svg = figures.save(FIGURES[name](theme="print"), tmp_path / "a.svg").read_text()
    assert float(svg.split(' width="', 1)[1].split('"', 1)[0]) <= 3.4 * 72


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    figure = FIGURES["curves"]()
    with pytest.raises(InputError, match=r"a\.gif: .* ends in \.svg, \.png, \.pdf, \.json"):
        figures.save(figure, tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"nowhere.*cannot be written: No such file"):
        figures.save(figure, tmp_path / "nowhere" / "a.json")
    with pytest.raises(InputError, match="scale 0 must be above 0"):
        figures.save(figure, tmp_path / "a.png", scale=0)
    schema = "https://vega.github.io/schema/vega-lite/v99.1.0.json"
    with pytest.raises(InputError, match=r"Vega-Lite 99\.1, and vl-convert draws"):
        figures.save({**figure, "$schema": schema}, tmp_path / "a.svg")
    with pytest.raises(InputError, match=r"a\.svg: the figure cannot be drawn"):
        figures.save({"$schema": figure["$schema"], "mark": "none"}, tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.tradeoff(ROWS, "nDGC@10", "qps"), "Did you mean 'nDCG@10'"),
        (lambda: figures.tradeoff(ROWS, MEASURE, "lateny_p95_s"), "Did you mean 'latency_p95_s'"),
        (lambda: figures.tradeoff(ROWS, MEASURE, "qps", theme="drak"), "Did you mean 'dark'"),
        (lambda: figures.tradeoff(ROWS, MEASURE, "qps", datasets=["x"]), "unknown dataset 'x'"),
        (lambda: figures.tradeoff(ROWS, MEASURE, "qps", filters=["x"]), "unknown filter 'x'"),
        (
            lambda: figures.tradeoff(ROWS.with_columns(qps=np.nan), MEASURE, "qps"),
            "nothing was measured",
        ),
        (
            lambda: figures.recall_against_quality(ROWS.drop("neighbour_recall@10"), MEASURE),
            "no column neighbour_recall",
        ),
        (lambda: figures.parameter_curves(ROWS, "eff", MEASURE), "Did you mean 'ef'"),
        (lambda: figures.differences(SCORES, "r", "x", MEASURE), "no scores of the row 'x'"),
        (lambda: figures.differences(SCORES, "r", "r", MEASURE), "with itself"),
        (
            lambda: figures.differences(SCORES.head(-1), "r", "c", MEASURE),
            "not scored on the same queries",
        ),
        (lambda: figures.p_matrix(COMPARISONS, "x", MEASURE), "unknown dataset of comparisons"),
        (
            lambda: figures.p_matrix(COMPARISONS, "cranfield", MEASURE, questions=["indx"]),
            "Did you mean 'index'",
        ),
    ],
)
def test_mistakes_are_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_figures_leave_the_tables_as_they_are() -> None:
    rows, scores, comparisons = ROWS.clone(), SCORES.clone(), COMPARISONS.clone()
    for draw in FIGURES.values():
        draw()
    assert rows.equals(ROWS)
    assert scores.equals(SCORES)
    assert comparisons.equals(COMPARISONS)


def test_importing_figures_imports_no_drawing_library() -> None:
    script = (
        "import sys, retrieval_eval.report.figures as f\n"
        "assert not {'altair', 'vl_convert'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
