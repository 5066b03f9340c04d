"""``retrieval-eval health``: every form, every refusal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import retrieval_eval.cli.health  # noqa: F401  # the verb
from retrieval_eval.health import FIGURES, embedding_health

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write vectors of two encoders, and work there."""
    rng = np.random.default_rng(0)
    for name, d in (("small", 8), ("large", 24)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "docs.npy", rng.normal(size=(150, d)).astype(np.float32))
        np.save(tmp_path / name / "queries.npy", rng.normal(size=(30, d)).astype(np.float16))
    monkeypatch.chdir(tmp_path)
    return tmp_path


BOTH = ["small/docs.npy", "large/docs.npy"]
ASKED = ["--queries", "small/queries.npy", "--queries", "large/queries.npy"]


def test_json_has_what_the_function_returns(vectors: Path, cli: Cli) -> None:
    options = ["--sample", "50", "-k", "4", "--seed", "3", "--duplicate-cosine", "0.9"]
    code, out, err = cli("health", *BOTH, *ASKED, *options, "--format", "json", "--meanings")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["options"] == {"k": 4, "duplicate_cosine": 0.9, "sample": 50, "seed": 3}
    assert content["meanings"] == dict(FIGURES)
    assert [one["file"] for one in content["files"]] == BOTH
    for one, name in zip(content["files"], ("small", "large"), strict=True):
        expected = embedding_health(
            np.load(f"{name}/docs.npy"),
            np.load(f"{name}/queries.npy"),
            sample=50,
            k=4,
            seed=3,
            duplicate_cosine=0.9,
        )
        assert one["figures"] | content["options"] == expected.as_dict()
        assert (one["reasons"], one["notes"]) == (expected.reasons, expected.notes())


def test_csv_has_a_row_for_each_file_and_nothing_where_nothing_was_measured(
    vectors: Path, cli: Cli
) -> None:
    np.save("few.npy", np.eye(3))
    code, out, err = cli("health", "few.npy", *BOTH, "--format", "csv")
    assert code == 0
    few, small, large = csv.DictReader(io.StringIO(out))
    assert list(few) == ["file", *FIGURES]
    assert (few["file"], few["lid_median"], few["rankme"][:5]) == ("few.npy", "", "3.000")
    assert (small["n_dimensions"], large["n_dimensions"], large["n_queries"]) == ("8", "24", "")
    assert float(large["lid_median"]) > float(small["lid_median"]) > 0
    assert "note: few.npy: lid_median, lid_mean, lid_k: not measured: an estimate takes" in err
    assert "no queries" not in err


def test_the_table_has_a_column_for_each_file_and_queries_only_if_given(
    vectors: Path, cli: Cli
) -> None:
    code, out, err = cli("health", *BOTH)
    assert code == 0
    assert out.split()[:3] == ["figure", *BOTH]
    assert re.search(r"(?m)^n_dimensions +8 +24$", out)
    assert "query" not in out
    assert "duplicate_cosine" not in out
    assert "n_searched" in err
    _, out, _ = cli("health", *BOTH, *ASKED, "--meanings")
    assert re.search(r"(?m)^n_queries +30 +30 +queries; none", out)


def test_columns_leave_out_the_folders_that_files_share(vectors: Path, cli: Cli) -> None:
    _, out, err = cli("health", *(vectors / file for file in BOTH))
    assert out.split()[:3] == ["figure", *BOTH]
    assert "note: small/docs.npy: vectors are of different lengths" in err
    _, out, _ = cli("health", "small/docs.npy", "small/docs.npy")
    assert out.split()[:3] == ["figure", "docs.npy", "docs.npy"]


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_documents_hold_figures_and_notes(vectors: Path, cli: Cli, form: str) -> None:
    code, out, err = cli("health", *BOTH, "--format", form)
    assert (code, err) == (0, "")
    assert "lid\\_median" in out
    assert "vectors are of different lengths" in out


def test_whole_numbers_and_other_files_are_read(vectors: Path, cli: Cli) -> None:
    numbers = np.random.default_rng(1).integers(-100, 100, size=(120, 6)).astype(np.int8)
    np.save("bytes.npy", numbers)
    np.savez_compressed("packed.npz", docs=numbers.astype(np.float32))
    code, out, _ = cli("health", "bytes.npy", "packed.npz#docs", "--format", "json")
    assert code == 0
    one, other = json.loads(out)["files"]
    assert one["figures"] == other["figures"]
    assert one["figures"]["rankme"] == embedding_health(numbers.astype(np.float32)).rankme


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["nowhere.npy"], ["nowhere.npy: there is no such file"]),
        ([*BOTH, "--queries", "small/queries.npy"], ["1 files of queries for 2 of documents"]),
        (["small/docs.npy", "--queries", "large/queries.npy"],
         ["large/queries.npy: dimension 24, but small/docs.npy has 8"]),
        (["small/docs.npy", "--duplicate-cosine", "2"], ["duplicate_cosine is 2.0"]),
        (["small/docs.npy", "--format", "csv", "--meanings"], ["--meanings"]),
        (["nan.npy"], ["nan.npy: row 1 holds nan in column 0"]),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(
    vectors: Path, cli: Cli, words: list[str], parts: list[str]
) -> None:
    np.save("nan.npy", np.array([[1.0], [np.nan]]))
    code, out, err = cli("health", *words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    for part in parts:
        assert part in err
