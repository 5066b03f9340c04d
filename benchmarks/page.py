"""How long the page of a large sweep takes: to be made, to open, to answer a click; and its size.

    python benchmarks/page.py [--chromium PATH] [--repeats 5]

Sweeps of 500 rows x 300 queries and of 5,000 rows x 20 queries (100,000 scores by each measure)
are made from a small real one, whose rows are repeated with other settings and scores. Times are in
seconds, medians of the repeats. `opened` runs from the request until the answer and the leaderboard
are there, `complete` until the last section is drawn, `longest task` is the longest time for which
the page did not answer while it did so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from retrieval_eval import Results, Sweep
from retrieval_eval.store import Store
from retrieval_eval.sweep import open_results

MEASURES = ("nDCG@10", "RR@10", "R@20")


def small(folder: Path, queries: int) -> Results:
    """Run a sweep on a made collection."""
    rng = np.random.default_rng(0)
    words = [
        f"{a}{b}"
        for a in ("ka", "mo", "ri", "tu", "se", "pa")
        for b in ("na", "lo", "vi", "do", "gu", "fe", "zi")
    ]
    data = folder / "made"
    (data / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.choice(words, size=12)) for _ in range(400)]
    records = {
        "corpus": [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)],
        "queries": [
            {"_id": f"q{i}", "text": " ".join(rng.choice(texts[i].split(), size=4))}
            for i in range(queries)
        ],
    }
    for name, lines in records.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    judged = [f"q{i}\td{j}\t1" for i in range(queries) for j in {i, (7 * i + 1) % 400}]
    (data / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n"
    )
    sweep = Sweep(
        name="made",
        datasets=[str(data)],
        encoders=[{"lsa": {"dim": 24}}, {"hashing": {"dim": 64}}],
        indexes=["flat", {"faiss-hnsw": {"M": [4, 8], "search": {"ef": [4, 8, 16]}}}],
        k=20,
        measures=list(MEASURES),
        compare={"margin": {"nDCG@10": 0.02}},
        timing={"repeats": 1, "latency_queries": 20, "batch_queries": 20, "memory": False},
    )
    return sweep.run(out=folder / "small", store=Store(folder / "store"), progress=False)


def inflated(results: Results, rows: int, folder: Path) -> Results:
    """Repeat the rows of a sweep, with other settings, scores and costs, until they are so many."""
    rng = np.random.default_rng(1)
    old, scores, compared = results.rows, results.per_query, results.comparisons
    reference = dict(compared.select("candidate_row_id", "reference_row_id").iter_rows())
    others = old.filter(~old["is_reference"])
    made, per_query, pairs = [old], [scores], [compared]
    count, copy = len(old), 0
    while count < rows:
        copy += 1
        part = others.head(rows - count)
        rename = {one: f"{one[:-6]}{copy:06}" for one in part["row_id"]}
        ids = pl.col("row_id").replace_strict(rename)
        jitter = pl.Series(rng.uniform(0.8, 1.2, len(part)))
        settings = [
            json.dumps({**json.loads(one), "ef": 16 + copy}) for one in part["search_params"]
        ]
        made.append(
            part.with_columns(
                ids,
                (pl.col("configuration") + f" copy={copy}").alias("configuration"),
                pl.Series("search_params", settings),
                *(
                    (pl.col(name) * jitter).cast(part.schema[name])
                    for name in ("latency_p50_s", "latency_p95_s", "qps", "size_bytes", "build_s")
                ),
            )
        )
        mine = scores.filter(scores["row_id"].is_in(part["row_id"].to_list()))
        noise = rng.normal(0, 0.05, len(mine)) * (rng.random(len(mine)) < 0.3)
        per_query.append(
            mine.with_columns(
                ids, *((pl.col(name) + pl.Series(noise)).clip(0, 1) for name in MEASURES)
            )
        )
        tested = compared.filter(compared["candidate_row_id"].is_in(list(reference)))
        tested = tested.filter(tested["candidate_row_id"].is_in(part["row_id"].to_list()))
        pairs.append(
            tested.with_columns(
                pl.col("candidate_row_id").replace_strict(rename),
                (pl.col("candidate") + f" copy={copy}").alias("candidate"),
            )
        )
        for before, after in rename.items():
            source = next((results.folder / "runs").glob(f"*{before}*"), None)
            if source is not None and copy < 40:
                target = folder / "runs" / source.name.replace(before, after)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        count += len(part)
    shutil.copytree(results.folder, folder, dirs_exist_ok=True)
    pl.concat(made).write_parquet(folder / "results.parquet")
    pl.concat(per_query).write_parquet(folder / "per_query.parquet")
    pl.concat(pairs).write_parquet(folder / "comparisons.parquet")
    return open_results(folder)


def opened(path: Path, chromium: str, repeats: int) -> Iterator[dict[str, float]]:
    """Open a page in fresh contexts, and time it."""
    from playwright.sync_api import sync_playwright

    watch = """
      var longest = 0;
      new PerformanceObserver((list) => {
        for (const one of list.getEntries()) window.longest = Math.max(longest, one.duration);
      }).observe({ type: "longtask", buffered: true });
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for _ in range(repeats):
            context = browser.new_context()
            context.add_init_script(watch)
            page = context.new_page()
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("#answer .card")
            page.wait_for_selector("#leaderboard tbody tr")
            opened_s = time.perf_counter() - start
            page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=60_000)
            complete_s = time.perf_counter() - start
            longest = page.evaluate("() => window.longest") / 1e3
            sort = """async (name) => {
              const start = performance.now();
              document.querySelector(`#leaderboard [data-sort="${name}"]`).click();
              await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
              return (performance.now() - start) / 1e3;
            }"""
            sorted_s = page.evaluate(sort, "nDCG@10")
            context.close()
            yield {
                "opened": opened_s,
                "complete": complete_s,
                "longest task": longest,
                "sorted": sorted_s,
            }
        browser.close()


def main() -> None:
    """Make both sweeps and their pages, open these, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for rows, queries in ((500, 300), (5000, 20)):
            folder = Path(scratch) / str(rows)
            folder.mkdir()
            results = inflated(small(folder, queries), rows, folder / "large")
            start = time.perf_counter()
            path = results.write_page(store=Store(folder / "store"))
            figures: dict[str, Any] = {
                "rows": len(results.rows),
                "scores": len(results.per_query) * len(MEASURES),
                "MB": round(path.stat().st_size / 1e6, 2),
                "made": round(time.perf_counter() - start, 2),
            }
            if options.chromium:
                times = list(opened(path, options.chromium, options.repeats))
                figures |= {
                    name: round(statistics.median(one[name] for one in times), 3)
                    for name in times[0]
                }
            print(json.dumps(figures))


if __name__ == "__main__":
    main()
