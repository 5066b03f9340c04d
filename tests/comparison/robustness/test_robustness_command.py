"""``retrieval-eval robustness``: every question, every form, every refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Cli = Callable[..., tuple[int, str, str]]
RUNS = ["forty.txt", "many.run", "some.run", "none.run", "-m", "RR"]


@pytest.fixture
def queries(files: Path) -> Path:
    """Write texts, topics and vectors of the forty queries."""
    lines, rows = [], ["query_id,topic"]
    for number in range(40):
        text = " ".join(["word"] * (1 + number % 4))
        lines.append(json.dumps({"_id": f"q{number}", "text": text, "kind": f"k{number % 2}"}))
        rows.append(f"q{number},{'art' if number < 10 else 'law'}")
    (files / "queries.jsonl").write_text("\n".join(lines) + "\n")
    (files / "topics.csv").write_text("\n".join(rows) + "\n")
    angle = np.linspace(0, 1, 40)
    np.save(files / "test.npy", np.stack([np.cos(angle), np.sin(angle)], axis=1))
    np.save(files / "train.npy", np.array([[1.0, 0.0]]))
    return files


def as_json(cli: Cli, *words: str) -> dict[str, Any]:
    code, out, _ = cli("robustness", *RUNS, *words, "--format", "json")
    assert code == 0
    content: dict[str, Any] = json.loads(out)
    return content


def test_unasked_it_looks_at_unjudged_documents_and_wrong_labels(files: Path, cli: Cli) -> None:
    content = as_json(cli)
    assert set(content) == {"qrels", "runs", "options", "unjudged", "label_noise", "notes"}
    assert content["runs"] == ["many", "some", "none"]
    some, none = content["unjudged"]
    assert (some["a"], some["b"], some["judged_a"]) == ("some", "many", 37 / 40)
    assert (none["judged_a"], none["judged_b"], none["mean_diff"]) == (0.0, 1.0, -1.0)
    (noise,) = content["label_noise"]
    assert [one["fraction"] for one in noise["fractions"]] == [0.01, 0.02, 0.05, 0.1, 0.2]


def test_shares_of_wrong_labels_can_be_chosen(files: Path, cli: Cli) -> None:
    (noise,) = as_json(cli, "--label-noise", "0,1", "--replicates", "3")["label_noise"]
    assert noise["replicates"] == 3
    first, last = noise["fractions"]
    assert (first["winner"], last["winner"]) == (1.0, 0.0)
    assert noise["smallest_change"] == 1.0


def test_reduced_judgments_are_counted_pair_by_pair(files: Path, cli: Cli) -> None:
    found = as_json(cli, "--pool-depth", "1", "--topics", "0.5", "--judgments", "1")
    assert [one["reduced"] for one in found["discriminativeness"]] == [
        "a pool of depth 1",
        "1 of the judgments",
        "0.5 of the queries",
    ]
    for one in found["discriminativeness"]:
        six = [one[f"{kind}_{way}"] for kind in ("active", "mixed", "passive")
               for way in ("agreement", "disagreement")]  # fmt: skip
        assert sum(six) == 3
    assert found["discriminativeness"][2]["n_reduced"] == 20
    same = found["discriminativeness"][1]
    assert (same["active_agreement"], same["passive_agreement"]) == (2, 1)


def test_slices_are_by_length_by_column_or_by_nearness(queries: Path, cli: Cli) -> None:
    (found,) = as_json(cli, "--slices", "queries.jsonl")["slices"]
    assert (found["slices"][0]["label"], found["slices"][0]["n"]) == ("1 word", 10)
    assert sum(one["n"] for one in found["slices"]) == 40
    assert found["by"] == "length"
    (found,) = as_json(cli, "--slices", "queries.jsonl", "--column", "kind")["slices"]
    assert [(one["label"], one["n"]) for one in found["slices"]] == [("k0", 20), ("k1", 20)]
    assert found["family"] == "4 comparisons: 2 slices x 2 pairs of runs x 1 measure"
    (found,) = as_json(cli, "--slices", "topics.csv", "--column", "topic")["slices"]
    assert [(one["label"], one["n"]) for one in found["slices"]] == [("art", 10), ("law", 30)]
    assert found["slices"][0]["differences"][0]["mean_diff"] == -0.3
    words = ["--slices", "queries.jsonl", "--vectors", "test.npy", "train.npy"]
    (found,) = as_json(cli, *words)["slices"]
    assert sorted(one["n"] for one in found["slices"]) == [20, 20]
    assert {one["label"].split()[0] for one in found["slices"]} == {"near", "far"}


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_every_form_shows_every_question(queries: Path, cli: Cli, form: str) -> None:
    words = ["--unjudged", "--label-noise", "0.1", "--topics", "0.5", "--slices", "queries.jsonl"]
    code, out, _ = cli("robustness", *RUNS, *words, "--format", form)
    assert code == 0
    for part in ("condensed", "wrong labels", "0.5 of the queries", "1 word"):
        assert part in out
    if form == "latex":
        assert "†" not in re.sub(r"(?m)^%.*$", "", out)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--label-noise", "some"], ["--label-noise 'some'"]),
        (["--label-noise", "2"], ["2.0", "between 0 and 1"]),
        (["--topics", "0"], ["0"]),
        (["--pool-depth", "0"], ["0"]),
        (["--column", "kind"], ["--slices"]),
        (["--slices", "queries.jsonl", "--column", "knid"], ["'knid'", "kind"]),
        (["--slices", "missing.jsonl"], ["missing.jsonl"]),
        (["--slices", "forty.txt"], ["forty.txt"]),
        (["--slices", "topics.csv"], ["topics.csv"]),
        (["--slices", "queries.jsonl", "--vectors", "test.npy", "nowhere.npy"], ["nowhere.npy"]),
        (["--slices", "queries.jsonl", "--vectors", "train.npy", "test.npy"], ["1 rows", "40"]),
        (["--slices", "queries.jsonl", "--vectors", "forty.txt", "test.npy"], ["not a .npy"]),
        (["--test", "wilcoxson"], ["Did you mean 'wilcoxon'"]),
        (["--slices", "queries.jsonl", "--column", "kind", "--vectors", "test.npy", "train.npy"],
         ["choose one"]),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(
    queries: Path, cli: Cli, words: list[str], parts: list[str]
) -> None:
    code, out, err = cli("robustness", *RUNS, *words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    for part in parts:
        assert part in err
    code, _, err = cli("robustness", "forty.txt", "many.run")
    assert code == 2
    assert "two runs" in err
