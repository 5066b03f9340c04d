"""Sweep files and sweep objects: strict keys, and messages that lead to the mistake."""

from __future__ import annotations

import copy
import re
import runpy
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import retrieval_eval
from retrieval_eval.catalogue import catalogue_names
from retrieval_eval.datasets import dataset_source
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.indexes import get_index
from retrieval_eval.parameters import parse_entry
from retrieval_eval.store import Store
from retrieval_eval.sweep import CompareSection, Sweep, TimingOptions, load_sweep, make_plan

ROOT = Path(__file__).parents[2]
GOOD = """\
name: good
datasets: [stdlib]
encoders:
  - lsa: {dim: 8}
indexes:
  - flat
  - ivf-flat: {nlist: [4, 8], search: {nprobe: [1, 2]}}
k: 20
measures: [nDCG@10]
compare:
  reference: flat
  margin: {nDCG@10: 0.01}
timing:
  repeats: 1
seed: 3
"""

Write = Callable[[str], Path]
MakeSettings = Callable[..., dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a sweep file."""

    def to_file(text: str) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return to_file


# -- files that are as they should be ---------------------------------------------------------


def test_every_key_of_a_file_arrives(write: Write) -> None:
    sweep = load_sweep(write(GOOD))
    assert (sweep.name, sweep.k, sweep.measures, sweep.seed) == ("good", 20, ["nDCG@10"], 3)
    assert sweep.datasets == ["stdlib"]
    assert sweep.encoders == [{"lsa": {"dim": 8}}]
    assert sweep.indexes[1] == {"ivf-flat": {"nlist": [4, 8], "search": {"nprobe": [1, 2]}}}
    assert sweep.compare == CompareSection(reference="flat", margin={"nDCG@10": 0.01})
    assert sweep.timing == TimingOptions(repeats=1)


def test_keys_left_out_keep_their_defaults(write: Write) -> None:
    sweep = load_sweep(write("{name: s, datasets: [d], encoders: [lsa], indexes: [flat]}"))
    assert (sweep.k, sweep.metric, sweep.seed, sweep.neighbour_recall) == (100, "cosine", 0, 10)
    assert sweep.measures == ["nDCG@10", "RR@10", "R@100"]
    assert sweep.compare == CompareSection()
    assert sweep.timing == TimingOptions()


def test_the_name_of_a_shipped_sweep_loads_it() -> None:
    assert load_sweep("quickstart") == load_sweep(ROOT / "experiments" / "quickstart.yaml")


def test_a_sweep_survives_being_written_down_and_read_again(write: Write) -> None:
    sweep = load_sweep(write(GOOD))
    assert Sweep(**sweep.model_dump(mode="json")) == sweep


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_sweep_resolves(
    path: Path, tmp_path: Path, write_collection: Callable[..., Path]
) -> None:
    # Its own datasets may take long to make; every other name and parameter is checked.
    sweep = load_sweep(path)
    for entry in sweep.datasets:
        name, parameters = parse_entry(entry)
        dataset_source(name, **{k: v for k, v in parameters.items() if k != "label"})
    folder = write_collection(tmp_path / "large", documents=400)
    here = sweep.model_copy(update={"datasets": [str(folder)]})
    try:
        plan = make_plan(here, Store(tmp_path / "cache"), skip_unavailable=True)
    except InputError as error:  # 400 short documents have fewer terms than an encoder may ask for
        pytest.fail(f"{path.name}: {error}")
    assert len(plan.rows) >= len(sweep.encoders) * len(sweep.indexes)


def test_the_script_of_the_shipped_sweep_runs_the_same_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Sweep] = []

    class Shown:
        def show(self) -> None:
            pass

    def run_sweep(sweep: Sweep, **_: Any) -> Shown:
        asked.append(sweep)
        return Shown()

    monkeypatch.setattr(retrieval_eval, "run_sweep", run_sweep)
    runpy.run_path(str(ROOT / "experiments" / "quickstart.py"))
    assert asked == [load_sweep("quickstart")]


@pytest.mark.parametrize("path", sorted((ROOT / "indexes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_index_specification_builds_its_backend(path: Path) -> None:
    assert path.stem in catalogue_names("indexes")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(content) <= {"backend", "parameters", "search", "source"}
    index = get_index(path.stem)
    assert index.name == content["backend"]
    settings = index.settings(content.get("search", {}))
    for name, value in content.get("parameters", {}).items():
        if name != "index":  # of an index around an index it is filled in with all parameters
            assert getattr(index.parameters, name) == value
    for name, value in content.get("search", {}).items():
        assert getattr(settings, name) == value
    if path.stem.endswith("-defaults"):  # figures of others need a source that can be looked up
        assert re.search(r"https://|[\w-]+/[\w.-]+", content["source"])


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_dataset_card_names_a_source_and_its_licence(path: Path) -> None:
    label = dataset_source(path.stem).label
    assert label == path.stem
    card = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert card["title"]
    assert card["licence"]
    for measure in card["recommended_measures"]:
        assert parse_measure(measure) == measure


def test_every_shipped_file_is_named_by_the_readme_of_experiments() -> None:
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "experiments").iterdir():
        if path.suffix in (".yaml", ".py"):
            assert f"`{path.name}`" in text


# -- mistakes, each with its line -------------------------------------------------------------


def replaced(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, "the test would change nothing"
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (replaced("measures:", "mesures:"), 9, "unknown key 'mesures'. Did you mean 'measures'?"),
        (
            replaced("  reference: flat", "  refrence: flat"),
            11,
            "unknown parameter 'refrence'. Did you mean 'reference'?",
        ),
        (
            replaced("  repeats: 1", "  repeets: 1"),
            14,
            "unknown parameter 'repeets'. Did you mean 'repeats'?",
        ),
        (replaced("k: 20", "k: 20\nk: 30"), 9, "the key 'k' occurs twice"),
        (
            replaced("  repeats: 1", "  repeats: 1\n  repeats: 2"),
            15,
            "the key 'repeats' occurs twice",
        ),
        (
            replaced("lsa: {dim: 8}", "lsa: {dim: 8, dim: 9}"),
            4,
            "the key 'dim' occurs twice",
        ),
        (replaced("k: 20", "k: many"), 8, "k is 'many'"),
        (replaced("k: 20", "k: '20'"), 8, "k is '20'"),
        (replaced("k: 20", "k: 20.0"), 8, "k is 20.0"),
        (replaced("k: 20", "k: true"), 8, "k is True"),
        (replaced("k: 20", "k: 0"), 8, "k is 0"),
        (replaced("seed: 3", "seed: -1"), 15, "seed is -1"),
        (replaced("seed: 3", "metric: cosin"), 15, "metric is 'cosin'"),
        (replaced("name: good", "name: ../good"), 1, "name is '../good'"),
        (replaced("name: good", "name: 7"), 1, "name is 7"),
        (replaced("measures: [nDCG@10]", "measures: nDCG@10"), 9, "measures is 'nDCG@10'"),
        (replaced("measures: [nDCG@10]", "measures: []"), 9, "measures is []"),
        (replaced("datasets: [stdlib]", "datasets: stdlib"), 2, "datasets is 'stdlib'"),
        (replaced("datasets: [stdlib]", "datasets: [7]"), 2, "datasets[0] must be a name"),
        (replaced("  - flat", "  - [flat]"), 6, "indexes[0] must be a name"),
        (replaced("seed: 3", "neighbour_recall: 21"), 15, "neighbour_recall is 21"),
        (replaced("  repeats: 1", "  repeats: 0"), 14, "'repeats' is 0"),
        (replaced("{nDCG@10: 0.01}", "{nDCG@10: -0.01}"), 12, "'margin'"),
        (replaced("{nDCG@10: 0.01}", "{nDCG@10: .nan}"), 12, "'margin'"),
        (replaced("  repeats: 1", "  - repeats"), 13, "timing must hold keys"),
        (replaced("datasets: [stdlib]\n", ""), None, "the key 'datasets' is missing"),
        (replaced("seed: 3", "seed: [3"), None, "not valid YAML"),
        ("- flat\n- hnsw\n", None, "must hold a mapping"),
        ("", None, "must hold a mapping"),
        ("just text", None, "must hold a mapping"),
        (replaced("seed: 3", "7: 3"), None, "the key 7 must be text"),
        (replaced("seed: 3", "seed: !!python/object/apply:os.getcwd []"), None, "not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_rule(
    write: Write, text: str, line: int | None, message: str
) -> None:
    path = write(text)
    with pytest.raises(InputError) as caught:
        load_sweep(path)
    said = str(caught.value)
    assert said.startswith(f"{path}:")
    assert message in said
    assert "\n" not in said
    assert "pydantic" not in said
    # Inside compare and timing, the line of the section will do: the message names the key.
    above = {11: 10, 12: 10, 14: 13}.get(line or 0, line)
    if line is not None:
        assert said.startswith((f"{path}:{line}: ", f"{path}:{above}: "))


@pytest.mark.parametrize("part", ["encoders", "indexes", "datasets"])
def test_two_names_in_one_entry_are_refused_with_the_way_out(
    part: str, tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    entry = {"flat": {}, "hnsw": {}}
    sweep = Sweep(**settings(tiny, **{part: [entry]}))
    with pytest.raises(InputError, match=r"one name, got flat, hnsw: start each with '- '"):
        make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)


def test_parameters_that_are_no_mapping_are_refused(write: Write) -> None:
    with pytest.raises(InputError, match=r"sweep.yaml:6: indexes\[0\] must be"):
        load_sweep(write(replaced("  - flat", "  - flat: 3")))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere/missing.yaml: there is no such file"):
        load_sweep("nowhere/missing.yaml")


def test_an_unknown_name_of_a_sweep_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown sweep 'quikstart'. Did you mean 'quickstart'"):
        load_sweep("quikstart")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file|unknown sweep"):
        load_sweep(tmp_path)


def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InputError, match=r"latin.yaml: cannot be read"):
        load_sweep(path)


# -- overrides --------------------------------------------------------------------------------


def test_settings_override_keys_at_every_depth(write: Write) -> None:
    sweep = load_sweep(
        write(GOOD),
        (
            "k=50",
            "measures=[RR@10, R@50]",
            "timing.threads=2",
            "compare.margin={RR@10: 0.5}",
            "indexes=[flat]",
            "name=other",
        ),
    )
    assert (sweep.k, sweep.measures, sweep.name) == (50, ["RR@10", "R@50"], "other")
    assert sweep.timing == TimingOptions(repeats=1, threads=2)
    assert sweep.compare == CompareSection(reference="flat", margin={"RR@10": 0.5})
    assert sweep.indexes == ["flat"]


def test_settings_make_keys_that_the_file_lacks() -> None:
    sweep = load_sweep("quickstart", ("neighbour_recall=5", "compare.draws=500"))
    assert (sweep.neighbour_recall, sweep.compare.draws) == (5, 500)


def test_the_last_of_two_settings_holds(write: Write) -> None:
    assert load_sweep(write(GOOD), ("k=30", "k=40")).k == 40


def test_a_setting_may_hold_an_equals_sign_in_its_value(write: Write) -> None:
    sweep = load_sweep(write(GOOD), ("compare.reference='ivf-flat nlist=4 nprobe=1'",))
    assert sweep.compare.reference == "ivf-flat nlist=4 nprobe=1"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("k", "expected key=value"),
        ("=3", "expected key=value"),
        ("k =3", "expected key=value"),
        ("timing..repeats=3", "expected key=value"),
        ("k=[", "not valid YAML"),
        ("k.depth=3", "'k' holds no keys"),
        ("kk=3", "unknown key 'kk'"),
        ("timing.repeets=3", "unknown parameter 'repeets'. Did you mean 'repeats'?"),
        ("k=three", "k is 'three'"),
        ("k=", "k is None"),
        ("timing.repeats=0", "'repeats' is 0"),
        ("compare=flat", "compare must hold keys"),
    ],
)
def test_a_bad_setting_is_refused_by_name(write: Write, setting: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_sweep(write(GOOD), (setting,))


# -- from Python ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mesures": ["AP"]}, "unknown key 'mesures'. Did you mean 'measures'?"),
        ({"k": "ten"}, "k is 'ten'"),
        ({"k": 5}, "neighbour_recall is 10, but only k=5"),
        ({"datasets": []}, "datasets is []"),
        ({"datasets": None}, "datasets is None"),
        ({"indexes": [None]}, "indexes[0] must be a name"),
        ({"encoders": [{"lsa": 3}]}, "encoders[0] must be a name"),
        ({"name": "a b"}, "name is 'a b'"),
        ({"compare": {"alpha": 2.0}}, "'alpha' is 2.0"),
        ({"compare": {"draws": 10}}, "'draws' is 10"),
        ({"compare": {"correction": "hulm"}}, "'correction' is 'hulm'"),
        ({"timing": {"threads": 0}}, "'threads' is 0"),
        ({"timing": 5}, "timing must hold keys"),
        ({"compare": None}, "compare must hold keys"),
        ({"measures": [10]}, "10"),
    ],
)
def test_a_sweep_made_in_python_raises_our_error_and_never_pydantics(
    settings: MakeSettings, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Sweep(**settings("stdlib", **change))
    assert "pydantic" not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="the key 'datasets' is missing"):
        Sweep(name="s", encoders=["lsa"], indexes=["flat"])


def test_option_objects_work_as_well_as_mappings(settings: MakeSettings) -> None:
    by_object = Sweep(
        **settings("stdlib", compare=CompareSection(draws=300), timing=TimingOptions(repeats=2))
    )
    by_mapping = Sweep(**settings("stdlib", compare={"draws": 300}, timing={"repeats": 2}))
    assert by_object == by_mapping


def test_planning_does_not_change_the_callers_entries(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    values = settings(
        tiny,
        datasets=[{"beir": {"path": str(tiny), "label": "mine"}}],
        encoders=[{"lsa": {"dim": [4, 8], "label": "small"}}],
        indexes=[{"ivf-flat": {"nlist": 4, "label": "lists", "search": {"nprobe": [1, 4]}}}],
    )
    before = copy.deepcopy(values)
    sweep = Sweep(**values)
    first = make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    second = make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert values == before
    assert [row.row_id for row in first.rows] == [row.row_id for row in second.rows]
    assert len({row.row_id for row in first.rows}) == len(first.rows) == 4
    assert [row.encoder.label for row in first.rows] == ["small dim=4"] * 2 + ["small dim=8"] * 2
    assert first.rows[0].dataset.name == "mine"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("compare:\n  alpha: 0.1\n  alfa: 0.2\n", 6),
        ("timing:\n  repeats: 3\n  threads: 0\n", 6),
        ("timing:\n  repeets: 3\n  threads: 1\n", 5),
    ],
)
def test_an_option_inside_a_section_is_blamed_by_its_own_line(
    tmp_path: Path, text: str, line: int
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\ndatasets: [stdlib]\nencoders: [lsa]\n" + text + "indexes: [flat]\n")
    with pytest.raises(InputError, match=f":{line}: "):
        load_sweep(path)


def test_a_margin_can_be_set_by_its_measure(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\ndatasets: [stdlib]\nencoders: [lsa]\nindexes: [flat]\n")
    assert load_sweep(path, ("compare.margin.nDCG@10=0.02",)).compare.margin == {"nDCG@10": 0.02}
