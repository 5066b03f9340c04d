"""The language of sweep files: grids, zip, when, includes, variables, overrides, the schema."""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.sweep import Sweep, load_sweep, make_plan
from retrieval_eval.sweep.config import SweepError, open_sweep
from retrieval_eval.sweep.expand import expand_entry, expand_grid, expand_searches

ROOT = Path(__file__).parents[2]
BASE = {"name": "s", "datasets": ["stdlib"], "encoders": ["lsa"], "indexes": ["flat"]}
PLAIN = """\
name: plain
datasets: [stdlib]
encoders:
  - lsa: {dim: 8}
indexes:
  - flat
  - ivf-flat:
      nlist: [4, 8]
      search: {nprobe: 2}
"""

Write = Callable[..., Path]
MakeSettings = Callable[..., dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a sweep file."""

    def to_file(text: str, name: str = "sweep.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return to_file


def grid(**values: Any) -> list[dict[str, Any]]:
    return list(expand_grid(values))


# -- grids ------------------------------------------------------------------------------------


def test_a_grid_holds_every_combination_and_the_last_key_varies_fastest() -> None:
    points = grid(M=[16, 32], fixed="x", ef=[1, 2, 3])
    assert [(point["M"], point["ef"]) for point in points] == [
        (16, 1),
        (16, 2),
        (16, 3),
        (32, 1),
        (32, 2),
        (32, 3),
    ]
    assert all(list(point) == ["M", "fixed", "ef"] for point in points)
    assert {point["fixed"] for point in points} == {"x"}


def test_a_grid_keeps_the_order_in_which_values_were_given() -> None:
    assert [point["ef"] for point in grid(ef=[64, 16, 256])] == [64, 16, 256]


def test_a_grid_of_nothing_is_one_empty_point() -> None:
    assert grid() == [{}]


@pytest.mark.parametrize("value", ["abc", (1, 2), {"a": 1}, None, 0])
def test_only_a_list_is_an_axis(value: Any) -> None:
    assert grid(x=value) == [{"x": value}]


def test_a_list_inside_a_list_is_one_value() -> None:
    assert grid(x=[[1, 2], []]) == [{"x": [1, 2]}, {"x": []}]


def test_an_empty_list_is_refused_naming_the_parameter() -> None:
    with pytest.raises(InputError, match="parameter 'ef' is an empty list"):
        grid(M=[1], ef=[])


def test_mappings_are_expanded_at_any_depth_and_inside_lists() -> None:
    points = grid(index=["flat", {"ivf-flat": {"nlist": [4, 8]}}], search={"index": {"n": [1, 2]}})
    assert [point["index"] for point in points[::2]] == [
        "flat",
        {"ivf-flat": {"nlist": 4}},
        {"ivf-flat": {"nlist": 8}},
    ]
    assert [point["search"]["index"]["n"] for point in points] == [1, 2] * 3


def test_expanding_leaves_what_was_given_as_it_was() -> None:
    given = {
        "M": [1, 2],
        "zip": {"a": [1, 2], "b": [3, 4]},
        "when": [{"if": {"M": 1}, "then": {"search": {"ef": [5, 6]}}}],
        "search": {"k": 1},
    }
    before = copy.deepcopy(given)
    for point in expand_grid(given):
        point["M"] = 9
        point["search"]["k"] = 9
    assert given == before


# -- zip --------------------------------------------------------------------------------------


def test_parameters_of_a_zip_vary_together() -> None:
    assert grid(zip={"M": [16, 32], "efc": [100, 200]}) == [
        {"M": 16, "efc": 100},
        {"M": 32, "efc": 200},
    ]


def test_zips_multiply_with_each_other_and_with_lists_and_keep_their_place() -> None:
    points = grid(
        first=[1, 2], zip=[{"a": [1, 2], "b": [3, 4]}, {"c": [5, 6, 7], "d": [8, 9, 0]}], last="x"
    )
    assert len(points) == 2 * 2 * 3
    assert list(points[0]) == ["first", "a", "b", "c", "d", "last"]
    assert {(one["a"], one["b"]) for one in points} == {(1, 3), (2, 4)}
    assert {(one["c"], one["d"]) for one in points} == {(5, 8), (6, 9), (7, 0)}
    assert len({json.dumps(one) for one in points}) == len(points)


def test_a_zip_works_below_search_and_inside_an_index() -> None:
    expanded = expand_entry(
        {
            "refine": {
                "index": {"ivf-flat": {"zip": {"nlist": [4, 8], "x": [1, 2]}}},
                "search": {"zip": {"depth": [10, 20], "y": [3, 4]}},
            }
        }
    )
    found = expand_searches(expanded)
    assert [build["index"]["ivf-flat"] for build, _ in found] == [
        {"nlist": 4, "x": 1},
        {"nlist": 8, "x": 2},
    ]
    assert all(searches == [{"depth": 10, "y": 3}, {"depth": 20, "y": 4}] for _, searches in found)


def test_a_zip_may_tie_search_settings_to_building() -> None:
    entry = {"ivf-flat": {"zip": {"nlist": [4, 8], "search": [{"nprobe": 1}, {"nprobe": [2, 4]}]}}}
    assert expand_searches(expand_entry(entry)) == [
        ({"nlist": 4}, [{"nprobe": 1}]),
        ({"nlist": 8}, [{"nprobe": 2}, {"nprobe": 4}]),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"zip": {"M": [1, 2], "efc": [1, 2, 3]}},
            "zip: lists must be equally long, but M has 2, efc has 3 values",
        ),
        ({"zip": {"M": [1, 2]}}, "zip must hold two or more parameters"),
        ({"zip": {}}, "zip must hold two or more parameters"),
        ({"zip": None}, "zip must hold two or more parameters"),
        ({"zip": {"M": [1], "zip": [2]}}, "zip must hold two or more parameters"),
        ({"zip": {"M": 16, "efc": [1, 2]}}, "zip: parameter 'M' is 16: give a list"),
        ({"zip": {"M": [], "efc": []}}, "zip: parameter 'M' is []: give a list"),
        ({"M": 1, "zip": {"M": [1, 2], "efc": [1, 2]}}, "parameter 'M' is given twice"),
        ({"zip": {"M": [1, 2], "efc": [1, 2]}, "M": 1}, "parameter 'M' is given twice"),
        (
            {"zip": [{"M": [1, 2], "a": [1, 2]}, {"M": [1, 2], "b": [1, 2]}]},
            "parameter 'M' is given twice",
        ),
    ],
)
def test_a_zip_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        list(expand_grid(values))


# -- when -------------------------------------------------------------------------------------


def rule(then: dict[str, Any], **asked: Any) -> dict[str, Any]:
    return {"if": asked, "then": then}


def test_what_stands_below_then_applies_where_the_condition_holds() -> None:
    points = grid(nlist=[64, 256], m=8, when=[rule({"nprobe": [1, 4]}, nlist=64)])
    assert points == [
        {"nlist": 64, "m": 8, "nprobe": 1},
        {"nlist": 64, "m": 8, "nprobe": 4},
        {"nlist": 256, "m": 8},
    ]


def test_then_replaces_a_parameter_and_is_merged_into_a_mapping() -> None:
    points = grid(
        nlist=[64, 256],
        m=[8, 16],
        search={"nprobe": [1, 2, 3], "other": 5},
        when=[rule({"m": 4, "search": {"nprobe": [7, 8]}}, nlist=256)],
    )
    assert len(points) == 1 * 2 * 3 + 1 * 1 * 2
    assert [one["search"] for one in points if one["nlist"] == 256] == [
        {"nprobe": 7, "other": 5},
        {"nprobe": 8, "other": 5},
    ]
    assert {one["m"] for one in points if one["nlist"] == 256} == {4}


def test_rules_apply_in_order_and_may_ask_for_what_an_earlier_one_set() -> None:
    points = grid(
        kind=["graph", "lists"],
        when=[
            rule({"nlist": [64, 256]}, kind="lists"),
            rule({"nprobe": 9}, nlist=256),
            rule({"M": 16}, kind="graph"),
        ],
    )
    assert points == [
        {"kind": "graph", "M": 16},
        {"kind": "lists", "nlist": 64},
        {"kind": "lists", "nlist": 256, "nprobe": 9},
    ]


def test_a_condition_takes_several_parameters_lists_and_those_of_a_zip() -> None:
    points = grid(
        zip={"a": [1, 2, 3], "b": [4, 5, 6]},
        c=[True, False],
        when=[rule({"d": 0}, a=[1, 2], c=True)],
    )
    assert [(one["a"], one["b"], one["c"]) for one in points if "d" in one] == [
        (1, 4, True),
        (2, 5, True),
    ]
    assert len(points) == 6


def test_true_is_not_one_in_a_condition() -> None:
    assert grid(a=[True, False], when=[rule({"b": 1}, a=True)])[0] == {"a": True, "b": 1}
    with pytest.raises(InputError, match="no combination has a: 1"):
        grid(a=[True, False], when=[rule({"b": 1}, a=1)])


def test_a_rule_may_stand_below_search() -> None:
    points = grid(search={"iterative": [True, False], "when": [rule({"n": 3}, iterative=True)]})
    assert [one["search"] for one in points] == [{"iterative": True, "n": 3}, {"iterative": False}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"when": {"if": {}, "then": {}}}, "when must be a list of rules"),
        ({"when": ["x"]}, "when must be a list of rules"),
        ({"a": 1, "when": [{"if": {"a": 1}}]}, "when must be a list of rules"),
        ({"a": 1, "when": [{"if": {"a": 1}, "then": {}}]}, "when must be a list of rules"),
        ({"a": 1, "when": [{"if": {"a": 1}, "then": {"when": []}}]}, "when must be a list"),
        (
            {"a": 1, "when": [{"if": {"a": 1}, "thn": {"b": 1}}]},
            "when: unknown key 'thn'. Did you mean 'then'?",
        ),
        (
            {"nlist": 1, "when": [{"if": {"nlst": 1}, "then": {"b": 1}}]},
            "unknown parameter 'nlst'. Did you mean 'nlist'?",
        ),
        (
            {"a": [1, 2], "when": [{"if": {"a": 3}, "then": {"b": 1}}]},
            "no combination has a: 3: correct the values, or remove the rule",
        ),
        (
            {"a": [1, 2], "when": [{"if": {"a": 1}, "then": {"a": 2}}]},
            "then changes 'a', which a rule asked for",
        ),
        (
            {
                "c": 1,
                "zip": {"a": [1, 2], "b": [1, 2]},
                "when": [{"if": {"c": 1}, "then": {"a": 3}}],
            },
            "then changes 'a' alone, but it varies together with others",
        ),
        ({"a": 1, "when": [{"if": {"a": {"x": 1}}, "then": {"b": 1}}]}, "give a value, or a list"),
        ({"a": 1, "when": [{"if": {"a": []}, "then": {"b": 1}}]}, "give a value, or a list"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        list(expand_grid(values))


# -- entries ----------------------------------------------------------------------------------


def test_the_plan_has_a_row_for_each_point_and_one_index_for_its_settings(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    index = {
        "nlist": [4, 8],
        "search": {"nprobe": 1},
        "when": [{"if": {"nlist": 8}, "then": {"search": {"nprobe": [2, 4]}}}],
    }
    encoders = [{"lsa": {"zip": {"dim": [4, 8], "min_df": [1, 2]}, "label": "small"}}]
    sweep = Sweep(**settings(tiny, indexes=[{"ivf-flat": index}], encoders=encoders))
    plan = make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert [row.shown for row in plan.searched[:3]] == [
        "ivf-flat nlist=4 nprobe=1",
        "ivf-flat nlist=8 nprobe=2",
        "ivf-flat nlist=8 nprobe=4",
    ]
    assert len({id(row.index) for row in plan.searched}) == 2
    labels = [row.encoder.label for row in plan.searched]
    assert list(dict.fromkeys(labels)) == ["small dim=4 min_df=1", "small dim=8 min_df=2"]


def test_a_combiner_takes_a_zip(tiny: Path, tmp_path: Path, settings: MakeSettings) -> None:
    combine = [{"rrf": {"of": ["a", "b"], "zip": {"k": [20, 60], "depth": [10, 15]}}}]
    encoders = [{"lsa": {"dim": 4, "label": "a"}}, {"lsa": {"dim": 8, "label": "b"}}]
    sweep = Sweep(**settings(tiny, encoders=encoders, combine=combine))
    plan = make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert [row.shown for row in plan.rows[2:]] == ["rrf k=20 depth=10", "rrf k=60 depth=15"]


# -- includes ---------------------------------------------------------------------------------


def test_an_included_file_is_merged_and_the_including_one_wins(write: Write) -> None:
    write("k: 20\ncompare: {alpha: 0.1, reference: flat}\nseed: 1\n", "parts/base.yaml")
    write("seed: 2\ntiming: {repeats: 1}\ninclude: base.yaml\n", "parts/more.yaml")
    sweep = load_sweep(write(PLAIN + "include: parts/more.yaml\ncompare: {alpha: 0.2}\n"))
    assert (sweep.k, sweep.seed, sweep.timing.repeats) == (20, 2, 1)
    assert (sweep.compare.alpha, sweep.compare.reference) == (0.2, "flat")
    assert sweep.name == "plain"


def test_of_several_included_files_the_last_one_wins_and_lists_are_replaced(write: Write) -> None:
    write("k: 20\nmeasures: [RR@10, R@20]\n", "a.yaml")
    write("k: 30\nmeasures: [nDCG@10]\n", "b.yaml")
    sweep = load_sweep(write(PLAIN + "include: [a.yaml, b.yaml]\n"))
    assert (sweep.k, sweep.measures) == (30, ["nDCG@10"])


def test_a_file_may_be_included_on_two_ways(write: Write) -> None:
    write("k: 20\n", "base.yaml")
    write("include: base.yaml\nseed: 4\n", "a.yaml")
    write("include: base.yaml\n", "b.yaml")
    sweep = load_sweep(write(PLAIN + "include: [a.yaml, b.yaml]\n"))
    assert (sweep.k, sweep.seed) == (20, 4)


def test_files_that_include_each_other_are_refused_naming_them(write: Write) -> None:
    write("# one\ninclude: b.yaml\n", "a.yaml")
    other = write("include: sub/../a.yaml\n", "b.yaml")
    (other.parent / "sub").mkdir()
    with pytest.raises(InputError) as caught:
        load_sweep(other.parent / "a.yaml")
    said = str(caught.value)
    assert said.startswith(f"{other}:1: include: files include each other: ")
    assert "a.yaml includes " in said


def test_a_file_that_includes_itself_is_refused(write: Write) -> None:
    path = write("include: sweep.yaml\n")
    with pytest.raises(InputError, match="include each other"):
        load_sweep(path)


def test_an_included_file_that_is_not_there_is_refused_naming_both(write: Write) -> None:
    path = write("name: s\ninclude:\n  - parts/base.yaml\n")
    with pytest.raises(InputError) as caught:
        load_sweep(path)
    assert str(caught.value) == (
        f"{path}:3: include: parts/base.yaml: there is no such file as "
        f"{path.parent / 'parts/base.yaml'}"
    )


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("7", "must name a file"),
        ("''", "must name a file"),
        ("{a: b}", "must name a file"),
        ("null", "must name a file"),
        ("${HOME}/base.yaml", "no variables are replaced here"),
    ],
)
def test_an_include_that_names_no_file_is_refused(write: Write, include: str, message: str) -> None:
    path = write(f"name: s\ninclude: {include}\n")
    with pytest.raises(InputError, match=f"sweep.yaml:2: .*{message}"):
        load_sweep(path)


def test_an_error_names_the_file_and_line_where_the_value_stands(write: Write) -> None:
    base = write("# base\nk: 20\ntiming:\n  repeats: 0\n", "base.yaml")
    with pytest.raises(InputError, match=re.escape(f"{base}:4: timing: parameter 'repeats' is 0")):
        load_sweep(write(PLAIN + "include: base.yaml\n"))
    base.write_text("{k: 1, k: 2}")
    with pytest.raises(InputError, match=r"base.yaml:1: the key 'k' occurs twice"):
        load_sweep(write(PLAIN + "include: base.yaml\n"))


def test_an_error_of_a_later_step_names_the_file_and_line_of_the_parameter(
    write: Write, tmp_path: Path
) -> None:
    base = write(
        """\
        indexes:
          - flat
          - ivf-flat:
              nlist: 4
              search:
                nprobe: [1, 0]
        """,
        "base.yaml",
    )
    path = write("include: base.yaml\nname: s\ndatasets: [stdlib]\nencoders:\n- lsa:\n    dmi: 8\n")
    for setting, where in ((), f"{path}:6"), (("encoders=[lsa]",), f"{base}:6"):
        sweep, document = open_sweep(path, setting, Sweep)
        with pytest.raises(SweepError) as caught:
            make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
        assert document.where(caught.value.location).startswith(where)


def test_merge_keys_and_anchors_of_yaml_work(write: Write) -> None:
    path = write(
        """\
        name: s
        datasets: [stdlib]
        encoders:
          - lsa: &base {dim: 8, min_df: 2}
          - lsa: {<<: *base, dim: 16}
        indexes: [flat]
        """
    )
    assert load_sweep(path).encoders[1] == {"lsa": {"min_df": 2, "dim": 16}}


def test_a_value_that_contains_itself_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match=r"sweep.yaml:2: not valid YAML: a value contains itself"):
        load_sweep(write("name: s\ndatasets: &a [*a]\n"))


# -- variables of the environment -------------------------------------------------------------


def test_variables_are_replaced_inside_text(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "/models")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    path = write(
        """\
        name: "${UNSET:-night}-${EMPTY:-run}"
        datasets: [stdlib]
        encoders:
          - sentence-transformers:
              model: "${MODELS}/mini"
              query_prompt: "$5 $${MODELS} $$ ${EMPTY}"
          - lsa: {"${MODELS}": 1}
        indexes: [flat]
        """
    )
    sweep = load_sweep(path)
    assert sweep.name == "night-run"
    assert sweep.encoders == [
        {
            "sentence-transformers": {
                "model": "/models/mini",
                "query_prompt": "$5 ${MODELS} $ ",
            }
        },
        {"lsa": {"${MODELS}": 1}},
    ]


def test_what_a_variable_holds_is_text_and_nothing_else(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", "20")
    monkeypatch.setenv("TWICE", "${K}")
    with pytest.raises(InputError, match=r"sweep.yaml:11: k is '20'"):
        load_sweep(write(PLAIN + "seed: 1\nk: ${K}\n"))
    assert load_sweep(write(PLAIN), ("metric=ip",)).metric == "ip"
    sweep = load_sweep(write('encoders: ["${TWICE}"]\nname: s\ndatasets: [d]\nindexes: [flat]'))
    assert sweep.encoders == ["${K}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOT_THERE}", "the environment variable 'NOT_THERE' is not set: set it, or write"),
        ("${}", "write ${NAME} or ${NAME:-default}"),
        ("${A-B}", "write ${NAME} or ${NAME:-default}"),
        ("${A", "write ${NAME} or ${NAME:-default}"),
        ("${1A}", "write ${NAME} or ${NAME:-default}"),
    ],
)
def test_a_variable_that_cannot_be_replaced_is_named_with_its_line(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    write(f"seed: 1\nmeasures:\n  - '{text}'\n", "base.yaml")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_sweep(write(PLAIN + "include: base.yaml\n"))
    assert re.match(r".*/base.yaml:3: ", str(caught.value))


def test_a_variable_in_a_value_that_is_overridden_need_not_be_set(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    write("metric: ${NOT_THERE}\nembeddings: ${NOT_THERE}\n", "base.yaml")
    path = write(PLAIN + "include: base.yaml\nmetric: ip\n")
    assert load_sweep(path, ("embeddings=float16",)).metric == "ip"


# -- overrides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("encoders.0.lsa.dim=64", lambda sweep: sweep.encoders[0] == {"lsa": {"dim": 64}}),
        ("indexes.1.ivf-flat.nlist.1=16", lambda s: s.indexes[1]["ivf-flat"]["nlist"] == [4, 16]),
        (
            "indexes.1.ivf-flat.search.nprobe=[1, 4]",
            lambda s: s.indexes[1]["ivf-flat"]["search"] == {"nprobe": [1, 4]},
        ),
        ("indexes.0.flat.label=exact", lambda s: s.indexes[0] == {"flat": {"label": "exact"}}),
        ("indexes.0=pq", lambda s: s.indexes[0] == "pq"),
        ("datasets.0='${HOME}'", lambda s: s.datasets == ["${HOME}"]),
    ],
)
def test_a_setting_reaches_positions_of_lists(
    write: Write, setting: str, read: Callable[[Sweep], bool]
) -> None:
    path = write(PLAIN)
    before = path.read_text()
    assert read(load_sweep(path, (setting,)))
    assert path.read_text() == before


def test_a_key_with_dots_is_found_where_it_is_there(write: Write) -> None:
    path = write("name: s\ndatasets: [d]\nindexes: [flat]\nencoders: [{my.mod:Cls: {dim: 1}}]\n")
    sweep = load_sweep(path, ("encoders.0.my.mod:Cls.dim=2",))
    assert sweep.encoders == [{"my.mod:Cls": {"dim": 2}}]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("encoders.lsa.dim=3", "'encoders' is a list, so name one of its positions: 0 (lsa)"),
        ("indexes.2.flat=3", "name one of its positions: 0 (flat), 1 (ivf-flat)"),
        ("indexes.-1=flat", "name one of its positions"),
        ("encoders.0.las.dim=3", "unknown name of encoders.0 'las'. Did you mean 'lsa'?"),
        ("indexes.0.flta.label=x", "unknown name of indexes.0 'flta'. Did you mean 'flat'?"),
        ("encoders.0.lsa.dim.x=3", "'encoders.0.lsa.dim' holds no keys"),
        ("include=x.yaml", "included by the file itself"),
        ("k=!!python/name:os.getcwd", "the value is not valid YAML"),
        ("k={a: 1, a: 2}", "the key 'a' occurs twice"),
        ("k=three", "k is 'three'"),
        ("timing.repeets=3", "unknown parameter 'repeets'. Did you mean 'repeats'?"),
        ("timing.repeats=0", "'repeats' is 0"),
        ("mesures=[RR]", "unknown key 'mesures'. Did you mean 'measures'?"),
        ("encoders=[7]", "encoders[0] must be a name"),
        ("indexes.1=[7]", "indexes[1] must be a name"),
    ],
)
def test_an_error_of_a_setting_says_so_and_names_no_line(
    write: Write, setting: str, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_sweep(write(PLAIN), ("seed=1", setting))
    assert str(caught.value).startswith(f"--set {setting!r}: ")
    assert "sweep.yaml" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("encoders.0.lsa.dmi=8", "--set 'encoders.0.lsa.dmi=8'"),
        ("encoders.0.lsa.dim=0", "--set 'encoders.0.lsa.dim=0'"),
        ("indexes=[hsnw]", "--set 'indexes=[hsnw]'"),
        ("indexes.1.ivf-flat.search.nprob=1", "--set 'indexes.1.ivf-flat.search.nprob=1'"),
        ("indexes.1.ivf-flat.zip={a: [1], b: [1, 2]}", "--set 'indexes.1.ivf-flat.zip="),
        ("measures=[RR@500]", "--set 'measures=[RR@500]'"),
    ],
)
def test_an_error_of_a_setting_that_shows_when_planning_says_so_too(
    write: Write, tmp_path: Path, setting: str, where: str
) -> None:
    sweep, document = open_sweep(write(PLAIN), (setting,), Sweep)
    with pytest.raises(SweepError) as caught:
        make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert document.where(caught.value.location).startswith(where)


def test_a_line_that_a_setting_contradicts_is_named_with_the_setting(write: Write) -> None:
    path = write(PLAIN + "neighbour_recall: 15\n")
    with pytest.raises(InputError) as caught:
        load_sweep(path, ("k=12",))
    assert str(caught.value).startswith(f"{path}:10 (with --set 'k=12'): neighbour_recall is 15")
    with pytest.raises(InputError, match=r"^--set 'k=5': neighbour_recall is 10"):
        load_sweep(write(PLAIN), ("k=5",))


# -- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN + "timing: {repeats: 2}\ncompare: {margin: {nDCG@10: 0.01}}\n",
        PLAIN + "filters: [none, {lang: [en, de], year: {min: 2020}}]\nseed: 3\n",
        PLAIN.replace("{dim: 8}", "{dim: 8, label: '$$1 $${HOME}'}"),
        PLAIN.replace("stdlib", "'007', 'no', 'Grüße', '1e3'"),
        PLAIN.replace("nlist: [4, 8]", "nlist: {int: [4, 8]}")
        + "tune: {goal: largest qps, trials: 3}\n",
    ],
)
def test_a_sweep_survives_being_written_as_yaml(write: Write, text: str) -> None:
    sweep = Sweep.from_yaml(write(text))
    again = Sweep.from_yaml(write(sweep.to_yaml(), "again.yaml"))
    assert again == sweep
    assert again.to_yaml() == sweep.to_yaml()


def test_from_yaml_takes_names_and_settings() -> None:
    assert Sweep.from_yaml("quickstart", settings=["k=50"]).k == 50


# -- the schema -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator() -> Any:
    """Return a validator of sweep files."""
    jsonschema = pytest.importorskip("jsonschema")
    from retrieval_eval.sweep.schema import sweep_schema

    schema = json.loads(json.dumps(sweep_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _examples() -> list[Any]:
    """Find the parts of sweep files in the documentation, and the shipped sweeps."""
    keys = {"datasets", "encoders", "indexes", "combine", "filters", "tune"}
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        for place, block in enumerate(blocks):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and keys & {*content}:
                found.append(pytest.param({**BASE, **content}, id=f"{path.name}-{place}"))
    shipped = sorted((ROOT / "experiments").glob("*.yaml"))
    return found + [pytest.param(yaml.safe_load(one.read_text()), id=one.name) for one in shipped]


@pytest.mark.parametrize("content", _examples())
def test_every_shipped_sweep_and_every_example_fits_the_schema(
    validator: Any, content: dict[str, Any]
) -> None:
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"indexes": [{"hnsw": {"zip": {"M": [8, 16], "ef_construction": [100, 200]}}}]},
        {"indexes": [{"hnsw": {"search": {"ef": {"int": [8, 64], "log": True}}}}]},
        {"indexes": [{"ivf-pq": {"nlist": [1, 2], "when": [rule({"m": [8]}, nlist=1)]}}]},
        {"indexes": [{"qdrant-defaults": {"search": {"ef": [64, 100]}}}, "my/own.yaml"]},
        {"encoders": ["${ENCODER}", {"my.module:Mine": {"a": 1}}], "metric": "${METRIC}"},
        {"datasets": ["./mine", {"beir": {"path": "x", "split": ["dev", "test"]}}]},
        {"combine": [{"weighted": {"of": ["a", "b"], "weights": {"a": [0.1, 0.5], "b": 1}}}]},
        {"measures": ["MRR@10", "AP(rel=2)@100"], "seed": 3},
        {"tune": {"goal": "largest qps", "seconds": 60}},
    ],
)
def test_what_a_sweep_may_hold_fits_the_schema(validator: Any, change: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors({**BASE, **change})] == []


def test_a_file_that_includes_another_may_leave_keys_out(validator: Any) -> None:
    assert validator.is_valid({"include": "base.yaml", "k": 20})
    assert not validator.is_valid({"k": 20})


@pytest.mark.parametrize(
    "change",
    [
        {"mesures": ["RR"]},
        {"measures": ["ndgc@10"]},
        {"metric": "cosin"},
        {"k": "many"},
        {"datasets": ["stdlob"]},
        {"datasets": [{"beir": {"split": "test"}}]},
        {"encoders": ["lsaa"]},
        {"encoders": [{"lsa": {"dmi": 8}}]},
        {"encoders": [{"lsa": {"dim": "x"}}]},
        {"encoders": [{"lsa": {}, "bm25": {}}]},
        {"encoders": [{"sentence-transformers": {}}]},
        {"indexes": ["hsnw"]},
        {"indexes": [{"hnsw": {"m": 16}}]},
        {"indexes": [{"hnsw": {"M": [16, 1]}}]},
        {"indexes": [{"hnsw": {"search": {"eff": 10}}}]},
        {"indexes": [{"hnsw": {"search": {"index": {"ef": 10}}}}]},
        {"indexes": [{"hnsw": {"zip": {"M": [8, 16]}}}]},
        {"indexes": [{"hnsw": {"zip": {"M": [8, 16], "eff": [1, 2]}}}]},
        {"indexes": [{"hnsw": {"M": 8, "when": [rule({"efc": 1}, M=8)]}}]},
        {"indexes": [{"hnsw": {"M": {"int": [8, 16], "lgo": True}}}]},
        {"indexes": [{"refine": {"index": {"hnsw": {"m": 16}}}}]},
        {"combine": [{"rrf": {"k": 60}}]},
        {"compare": {"refrence": "flat"}},
        {"timing": {"repeats": 0}},
        {"tune": {"trials": 10}},
        {"include": "${HOME}/base.yaml"},
    ],
)
def test_a_mistake_does_not_fit_the_schema(validator: Any, change: dict[str, Any]) -> None:
    assert not validator.is_valid({**BASE, **change})


def test_the_schema_explains_parameters(validator: Any) -> None:
    found = validator.schema["$defs"]["encoder.lsa"]["properties"]["dim"]
    assert found["default"] == 256
    assert found["description"] == "Dimensions kept; fewer than documents and terms."
    assert found["anyOf"][0] == {"type": "integer", "minimum": 1}
    for name, schema in validator.schema["properties"].items():
        assert schema["description"], name
        assert "``" not in schema["description"]


def test_the_verb_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from retrieval_eval.cli.schema import schema

    schema()
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")
