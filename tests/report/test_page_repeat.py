"""What the page says of repeating a sweep does repeat it, and gives nothing away."""

from __future__ import annotations

import hashlib
import html
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from packaging.requirements import Requirement

from retrieval_eval.report.page import repeat as repeat_module
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.repeat import repeat_section
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results, Sweep, load_sweep, make_plan
from retrieval_eval.sweep.replay import _row_of


class Tables(Results):
    """Results with other tables than those of their folder."""

    given: pl.DataFrame

    @property
    def rows(self) -> pl.DataFrame:
        return self.given


def with_rows(results: Results, rows: pl.DataFrame, **changes: Any) -> Results:
    made = Tables(results.folder, {**results.manifest, **changes}, fresh=False)
    object.__setattr__(made, "given", rows)
    return made


def shown(section: Section) -> str:
    return assemble("title", [section], figures=False)


def body(section: Section) -> str:
    """Return the section as HTML, without its data and scripts."""
    return shown(section).partition("<section")[2].partition("</section>")[0]


def block(section: Section, name: str) -> str:
    """Return a block as a reader copies it."""
    found = re.search(rf'id="repeat-{name}"><code>(.*?)</code>', shown(section), re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_the_configuration_finds_the_same_sweep_finished(
    tiny: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(block(repeat_section(tiny), "sweep"), encoding="utf-8")
    sweep = load_sweep(path)
    assert sweep.model_dump(mode="json") == tiny.manifest["sweep"]
    plan = make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert [row.row_id for row in plan.rows] == tiny.manifest["row_ids"]
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "cache"))
    again = sweep.run(out=tiny.folder, progress=False)
    assert not again.fresh
    assert again.manifest["sweep_key"] == tiny.manifest["sweep_key"]


def test_the_configuration_as_asked_is_there_if_ranges_were_searched(tiny: Results) -> None:
    asked = Sweep(
        name="tuned",
        datasets=["stdlib"],
        encoders=["lsa"],
        indexes=["flat", {"hnsw": {"M": {"int": [4, 16]}}}],
        tune={"goal": "largest nDCG@10", "trials": 6},
    )
    found = {"asked": asked.model_dump(mode="json"), "tuning": [{"trials": [{}] * 6}]}
    section = repeat_section(replace(tiny, manifest={**tiny.manifest, **found}))
    assert "searched, in 6 trials" in body(section)
    import yaml

    assert Sweep(**yaml.safe_load(block(section, "asked"))) == asked
    assert "as it was asked for" not in body(repeat_section(tiny)).lower()


def test_versions_are_constraints_that_pip_takes(tiny: Results) -> None:
    versions = {
        "python": "3.11.7",
        "numpy": "2.4.6",
        "torch": "2.9.0+cpu",
        "a server": "16",
        "server": "16 beta",
    }
    manifest = {**tiny.manifest, "versions": versions}
    lines = block(repeat_section(replace(tiny, manifest=manifest)), "constraints").splitlines()
    assert lines[0] == "# Python 3.11.7"
    assert "# a server 16" in lines
    assert "# server 16 beta" in lines
    required = [Requirement(line) for line in lines if not line.startswith("#")]
    assert [one.name for one in required] == ["ann-retrieval-eval", "numpy", "torch"]
    assert str(required[2].specifier) == "==2.9.0+cpu"


def test_every_row_has_a_command_that_finds_it(tiny: Results) -> None:
    section = repeat_section(tiny)
    replays = section.parts["replays"]
    ok = tiny.rows.filter(tiny.rows["status"] == "ok")
    assert len(replays) == len(ok)
    for (_, command), row_id in zip(replays, ok["row_id"], strict=True):
        words = shlex.split(command)
        assert words[:3] == ["retrieval-eval", "replay", "results/out"]
        assert len(words) == 4
        assert _row_of(tiny.rows, words[3])["row_id"] == row_id
    assert block(section, "command-3") == replays[0][1]


def test_rows_that_are_called_the_same_are_named_by_their_ids(tiny: Results) -> None:
    rows = pl.concat([tiny.rows, tiny.rows.with_columns(pl.lit("x").alias("row_id"))[:1]])
    replays = repeat_section(with_rows(tiny, rows)).parts["replays"]
    assert shlex.split(replays[0][1])[3] == tiny.rows["row_id"][0]
    assert shlex.split(replays[-1][1])[3] == "x"
    assert shlex.split(replays[1][1])[3] == "lsa dim=8 | ivf-flat nlist=8 nprobe=1"


def test_results_elsewhere_are_written_there_again(tiny: Results) -> None:
    # The folder is called `out`, the sweep is not.
    assert block(repeat_section(tiny), "command-2") == (
        "retrieval-eval run tiny-report.yaml --out results/out"
    )
    usual = with_rows(replace(tiny, folder=tiny.folder.with_name("tiny-report")), tiny.rows)
    assert block(repeat_section(usual), "command-2") == "retrieval-eval run tiny-report.yaml"
    assert str(tiny.folder.parent) not in shown(repeat_section(tiny)).replace(
        str(tiny.manifest["sweep"]["datasets"][0]), ""
    )


def test_nothing_secret_is_shown(
    tiny: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "e9f1secret")
    sweep = {
        **tiny.manifest["sweep"],
        "encoders": [
            {
                "mine:Encoder": {
                    "api_key": "k-123",
                    "nested": {"Password": "p-456", "tokens": ["t-789", "t-790"]},
                    "url": "https://me:u-321@host/v1",
                    "dsn": "host=db password=d-654",
                    "token_pattern": r"\w+",
                    "max_tokens": 7,
                    "text": "costs ${HOME} and $5",
                }
            }
        ],
    }
    section = repeat_section(replace(tiny, manifest={**tiny.manifest, "sweep": sweep}))
    page = shown(section)
    for secret in ("e9f1secret", "k-123", "p-456", "t-789", "t-790", "u-321", "d-654"):
        assert secret not in page
    names = ["API_KEY", "PASSWORD", "TOKENS", "TOKENS_2", "URL", "DSN"]
    assert section.context["hidden"] == names
    for name in names:
        monkeypatch.setenv(name, f"value of {name}")
    path = tmp_path / "s.yaml"
    path.write_text(block(section, "sweep"), encoding="utf-8")
    (encoder,) = load_sweep(path).encoders
    assert encoder["mine:Encoder"] == {
        "api_key": "value of API_KEY",
        "nested": {
            "Password": "value of PASSWORD",
            "tokens": ["value of TOKENS", "value of TOKENS_2"],
        },
        "url": "value of URL",
        "dsn": "value of DSN",
        "token_pattern": r"\w+",
        "max_tokens": 7,
        "text": "costs ${HOME} and $5",
    }


def test_a_configuration_of_another_version_is_shown_as_it_is(tiny: Results) -> None:
    manifest = {**tiny.manifest, "sweep": {**tiny.manifest["sweep"], "later": 1}}
    text = block(repeat_section(replace(tiny, manifest=manifest)), "sweep")
    assert text.startswith("# This version cannot read it: unknown key 'later'")
    assert "later: 1" in text


def test_checksums_are_those_of_the_files(tiny: Results) -> None:
    page = body(repeat_section(tiny))
    for name in ("results.parquet", "per_query.parquet", "comparisons.parquet"):
        assert hashlib.sha256((tiny.folder / name).read_bytes()).hexdigest() in page
    assert tiny.manifest["sweep_key"] in page
    assert tiny.manifest["datasets"]["tiny"]["qrels"] in page


def test_rows_that_were_not_run_are_named_with_their_message(
    tiny: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = ["failed", "skipped", *["failed"] * (len(tiny.rows) - 2)]
    words = "died of <script>alert(1)</script>\nlast words"
    rows = tiny.rows.with_columns(
        pl.Series("status", status),
        pl.Series("message", [words if one == "failed" else "no library" for one in status]),
    )
    monkeypatch.setattr(repeat_module, "_NAMED", 2)
    section = repeat_section(with_rows(tiny, rows))
    failed, skipped = section.context["problems"]
    assert (failed["status"], failed["count"], failed["message"]) == (
        "failed",
        len(rows) - 1,
        words,
    )
    assert (len(failed["names"]), failed["more"]) == (2, len(rows) - 3)
    assert skipped["names"] == ["tiny, lsa dim=8 | ivf-flat nlist=8 nprobe=1"]
    page = shown(section)
    assert "<script>alert" not in page
    assert "died of &lt;script&gt;" in page
    assert section.parts["replays"] == []


def test_names_and_notes_are_text_and_never_html(tiny: Results, specials: str) -> None:
    manifest = {
        **tiny.manifest,
        "notes": [specials],
        "families": {specials: specials},
        "datasets": {specials: tiny.manifest["datasets"]["tiny"]},
        "versions": {specials: specials},
    }
    page = shown(repeat_section(replace(tiny, manifest=manifest)))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
