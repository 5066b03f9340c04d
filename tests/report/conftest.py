"""Finished sweeps: made by hand, and a tiny one that was run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval.comparison import CompareOptions, compare
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results, Sweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SPECIALS = r"a&b%c$d#e_f{g}h~i^j\k <script>alert(1)</script> [x](y) |*` شريط 🚀"
"""A name with everything that means something to LaTeX, Markdown or HTML."""


@dataclass(frozen=True, eq=False)
class MadeSweep:
    """Has the tables of a finished sweep."""

    rows: pl.DataFrame
    per_query: pl.DataFrame
    comparisons: pl.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)


def _made(
    losses: dict[str, float],
    *,
    costs: dict[str, float] | None = None,
    n: int = 40,
    margin: dict[str, float] | None = None,
    noise: dict[str, str] | None = None,
    dataset: str = "news",
    encoder: str = "lsa",
    spread: float = 0.05,
    seed: int = 0,
    timed: bool = True,
    reference: str | None = "flat",
    failed: tuple[str, ...] = (),
) -> MadeSweep:
    """Make a sweep in which configurations lose so much in the mean beside ``flat``."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.3, 0.7, size=n)
    names = ["flat", *losses]
    costs = {"flat": 0.01, **(costs or {})}
    values = {"flat": base}
    for name, loss in losses.items():
        moved = rng.normal(0, spread, size=n)
        values[name] = base - loss + moved - moved.mean()
    ids = {name: f"{dataset}-{encoder}-{name}" for name in names}
    queries = tuple(f"q{number:03}" for number in range(n))
    evaluations = {
        name: Evaluation(ids[name], ("nDCG@10",), queries, values[name][None], 0)
        for name in names
        if name not in failed
    }
    options = CompareOptions(margins=margin or {}, seed=3)
    order = list(evaluations)
    comparison = compare(list(evaluations.values()), options=options)
    records = [
        {
            "dataset": dataset,
            "question": "index",
            "reference_row_id": ids["flat"],
            "candidate_row_id": one.a,
            "reference": f"{encoder} | flat",
            "candidate": f"{encoder} | {order[place + 1]}",
            "difference": one.mean_diff,
            "difference_lo": one.ci95[0],
            "difference_hi": one.ci95[1],
            **{
                name: getattr(one, name)
                for name in (
                    *("measure", "n", "wins", "ties", "losses", "effect", "p", "p_adjusted"),
                    *("significant", "detectable", "margin", "p_noninferior", "noninferior"),
                    *("p_equivalent", "equivalent"),
                )
            },
            "draws": comparison.draws,
        }
        for place, one in enumerate(comparison.differences)
    ]
    ok = [name not in failed for name in names]
    means = [float(values[name].mean()) for name in names]
    latency = [costs.get(name, 0.001) if timed else None for name in names]
    rows = pl.DataFrame(
        {
            "row_id": list(ids.values()),
            "dataset": dataset,
            "encoder": encoder,
            "index": [name.split()[0] for name in names],
            "configuration": names,
            "filter": pl.Series([None] * len(names), dtype=pl.String),
            "selectivity": 1.0,
            "status": ["ok" if one else "failed" for one in ok],
            "message": ["" if one else "out of memory" for one in ok],
            "is_reference": [name == reference for name in names],
            "nDCG@10": [one if good else None for one, good in zip(means, ok, strict=True)],
            "nDCG@10_lo": [m - 0.01234567 if g else None for m, g in zip(means, ok, strict=True)],
            "nDCG@10_hi": [m + 0.01234567 if g else None for m, g in zip(means, ok, strict=True)],
            "neighbour_recall@10": rng.uniform(0.9, 1, size=len(names)),
            "latency_p50_s": pl.Series([one and one / 2 for one in latency], dtype=pl.Float64),
            "latency_p95_s": pl.Series(latency, dtype=pl.Float64),
            "qps": rng.uniform(100, 1000, size=len(names)),
            "noise": [(noise or {}).get(name, "") for name in names],
            "build_s": rng.uniform(1, 3, size=len(names)),
            "size_bytes": rng.integers(1000, 10**7, size=len(names)),
            "filtering": pl.Series([None] * len(names), dtype=pl.String),
            "n_queries": n,
        },
        strict=False,
    )
    run = [name for name in names if name not in failed]
    per_query = pl.DataFrame(
        {
            "row_id": np.repeat([ids[name] for name in run], n),
            "query_id": list(queries) * len(run),
            "nDCG@10": np.concatenate([values[name] for name in run]),
        }
    )
    manifest = {
        "name": "made",
        "reference": reference,
        "families": {dataset: comparison.family},
        "machine": {"processor": "a processor"},
        "notes": [],
        "sweep": {
            "measures": ["nDCG@10"],
            "neighbour_recall": 10,
            "k": 20,
            "metric": "cosine",
            "seed": 3,
            "timing": {"threads": 1, "repeats": 3} if timed else None,
            "compare": {
                "test": "randomization",
                "correction": "holm",
                "family": "all",
                "alpha": 0.05,
                "draws": None,
                "margin": margin or {},
                "margin_test": "hall",
                "interval": "t",
            },
        },
    }
    return MadeSweep(rows, per_query, pl.DataFrame(records), manifest)


@pytest.fixture(scope="session")
def made() -> Callable[..., MadeSweep]:
    """Return a function that makes a finished sweep."""
    return _made


@pytest.fixture(scope="session")
def specials() -> str:
    return SPECIALS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the results of a tiny sweep with two encoders, a margin and a combination."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("ka", "mo", "ri", "tu", "se") for b in ("na", "lo", "vi", "do")]
    texts = [" ".join(rng.choice(words, size=8)) for _ in range(50)]
    data = folder / "tiny"
    (data / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}", "text": text, "metadata": {"part": i % 2}} for i, text in enumerate(texts)
    ]
    queries = [
        {"_id": f"q{i}", "text": " ".join(rng.choice(texts[i].split(), size=2))} for i in range(12)
    ]
    documents[0]["title"] = SPECIALS
    queries[0]["text"] = f"{queries[0]['text']} <img src=x onerror=alert(2)> {SPECIALS}"
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(one) + "\n" for one in records)
        (data / f"{name}.jsonl").write_text(lines)
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{i}\td{j}\t1" for i in range(12) for j in {i, (7 * i + 1) % 50, (3 * i + 2) % 50}]
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    sweep = Sweep(
        name="tiny-report",
        datasets=[str(data)],
        encoders=[{"lsa": {"dim": 8}}, {"hashing": {"dim": 32, "label": SPECIALS}}],
        indexes=["flat", {"ivf-flat": {"nlist": 8, "search": {"nprobe": [1, 4]}}}],
        combine=[{"rrf": {"of": ["lsa dim=8", SPECIALS]}}],
        k=20,
        measures=["nDCG@10", "R@20"],
        compare={"draws": 300, "margin": {"nDCG@10": 0.2}},
        timing={"repeats": 1, "latency_queries": 4, "batch_queries": 4, "memory": False},
        limits={"processes": False},
        seed=3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_EVAL_CACHE", str(folder / "cache"))
        results: Results = sweep.run(out=folder / "out", progress=False)
    return results


_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _chromium() -> str | None:
    return os.environ.get("RETRIEVAL_EVAL_CHROMIUM") or next(
        (found for name in _BROWSERS if (found := shutil.which(name))), None
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium: install it, or name it in RETRIEVAL_EVAL_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def file(tiny: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return tiny.write_page(path, store=Store(tiny.folder.parent / "cache"))


class Opened:
    """A page that was opened, and what it did."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda said: self.wrong.append(said.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: self.wrong.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))
        self.go()

    def go(self, where: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(self.url + where)
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def hash(self) -> str:
        found: str = self.page.evaluate("() => decodeURIComponent(location.hash)")
        return found


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def call(width: int = 1280, **settings: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        return Opened(context.new_page(), file.as_uri())

    yield call
    for context in contexts:
        context.close()
