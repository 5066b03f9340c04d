"""What scripts of experiments share."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval_eval.experimenting import Experiment

README = (
    "# Why\n<!-- table: cost -->\nold\n<!-- end -->\ntext\n<!-- table: made -->\n<!-- end -->\n"
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments" / "cost"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(README)
    return folder / "run.py"


def test_a_readme_shows_what_was_printed(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Experiment(str(script), argv=["--readme", "--out", str(tmp_path / "out")]) as lab:
        lab.table("cost", ["ef", "nDCG@10"], [[16, 0.25], [64, None]], note="on d")
    table = "| ef | nDCG@10 |\n| --: | --: |\n| 16 | 0.2500 |\n| 64 |  |\n\non d"
    assert table in capsys.readouterr().out
    readme = script.with_name("README.md").read_text()
    assert f"<!-- table: cost -->\n{table}\n<!-- end -->\ntext\n" in readme
    assert "old" not in readme
    assert "data stdlib, seed 13" in readme
    assert table in (tmp_path / "out" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (["--readme"], "other", "has no place <!-- table: other -->"),
        (["--readme", "--small"], "cost", "figures of --small say too little"),
    ],
)
def test_a_readme_that_cannot_be_written_stays(
    script: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    name: str,
    said: str,
) -> None:
    with (
        pytest.raises(SystemExit) as stop,
        Experiment(str(script), argv=[*words, "--out", str(tmp_path / "out")]) as lab,
    ):
        lab.table(name, ["a"], [[1]])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert script.with_name("README.md").read_text() == README


def test_a_users_mistake_is_one_line_and_exit_2(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(SystemExit) as stop,
        Experiment(str(script), argv=["--dataset", "stdlob"]) as lab,
    ):
        lab.dataset()
    assert stop.value.code == 2
    assert "stdlib" in capsys.readouterr().err


def test_encoders_are_given_as_in_a_sweep_file(script: Path) -> None:
    words = ["--encoder", "hashing", "--encoder", "lsa: {dim: 8, label: x}"]
    with Experiment(str(script), argv=words) as lab:
        assert lab.encoders == ["hashing", {"lsa": {"dim": 8, "label": "x"}}]
        assert lab.encoder(lab.encoders[1]).parameters.dim == 8
