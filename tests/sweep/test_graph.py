"""A sweep becomes distinct jobs: equal ones are one, and search settings never rebuild."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval import Store, Sweep
from retrieval_eval.errors import InputError
from retrieval_eval.pipeline import BuildJob, EncodeJob, Job, SearchJob
from retrieval_eval.pipeline.shards import read_embeddings
from retrieval_eval.sweep.graph import Graph, make_graph
from retrieval_eval.sweep.plan import make_plan
from retrieval_eval.texts import Texts, write_texts
from retrieval_eval.timing import machine

MakeSettings = Callable[..., dict[str, Any]]
IVF = {"ivf-flat": {"nlist": [2, 4], "search": {"nprobe": [1, 2, 3]}}}


@pytest.fixture
def graph_of(tiny: Path, settings: MakeSettings, tmp_path: Path) -> Callable[..., Graph]:
    def make(*, shards: int = 1, timed_on: dict[str, Any] | None = None, **changes: Any) -> Graph:
        plan = make_plan(
            Sweep(**settings(tiny, **changes)), Store(tmp_path / "s"), skip_unavailable=False
        )
        return make_graph(plan, timed_on or machine(), shards=shards)

    return make


def kinds(graph: Graph) -> Counter[str]:
    return Counter(job.kind for job in graph.jobs)


def test_search_settings_never_rebuild_and_encodings_are_shared(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of(indexes=["flat", IVF])
    assert len(graph.rows) == 7
    assert kinds(graph) == {
        "encode": 2,
        "neighbours": 1,
        "build": 3,
        "search": 7,
        "evaluate": 7,
    }


def test_equal_jobs_of_differently_named_rows_are_one(graph_of: Callable[..., Graph]) -> None:
    same = [{"ivf-flat": {"nlist": 4, "label": name}} for name in ("one", "another")]
    graph = graph_of(indexes=["flat", *same])
    assert len(graph.rows) == 3
    assert kinds(graph)["build"] == kinds(graph)["search"] == kinds(graph)["evaluate"] == 2
    one, another = list(graph.rows.values())[1:]
    assert one.run is another.run


def test_every_job_stands_after_what_it_needs(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(
        encoders=[{"lsa": {"dim": [4, 8], "label": "lsa"}}, "hashing"],
        indexes=["flat", IVF],
        combine=[{"rrf": {"of": ["lsa dim=4", "hashing"]}}],
        filters=["none", {"random": {"max": 0.5}}],
        build_seeds=2,
        health=True,
        shards=3,
    )
    place = {job: number for number, job in enumerate(graph.jobs)}
    assert len({(job.folder, job.key) for job in graph.jobs}) == len(graph.jobs)
    assert all(place[need] < place[job] for job in graph.jobs for need in job.needs.values())
    assert set(kinds(graph)) == {
        "encode",
        "neighbours",
        "build",
        "search",
        "evaluate",
        "combine",
        "health",
    }


def test_a_key_depends_on_what_comes_before_and_on_the_machine_only_where_time_counts(
    graph_of: Callable[..., Graph],
) -> None:
    def keys(graph: Graph) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for job in graph.jobs:
            found.setdefault(job.kind, []).append(job.key)
        return found

    plain, other = keys(graph_of()), keys(graph_of(encoders=[{"lsa": {"dim": 4}}]))
    assert all(not set(plain[kind]) & set(other[kind]) for kind in plain)
    elsewhere = {"processor": "another", "cores": 64}
    moved = keys(graph_of(timed_on=elsewhere))
    assert moved["encode"] == plain["encode"]
    assert moved["neighbours"] == plain["neighbours"]
    assert moved["build"] != plain["build"]
    assert moved["search"] != plain["search"]
    untimed = [keys(graph_of(timing="none", timed_on=one)) for one in (elsewhere, machine())]
    assert untimed[0] == untimed[1]


def test_a_sent_job_has_its_key_and_works_without_the_jobs_it_needs(
    graph_of: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = graph_of(indexes=["flat"])
    store, done = Store(tmp_path / "store"), {}
    for job in graph.jobs:
        sent: Job = pickle.loads(pickle.dumps(job))  # noqa: S301 (made here)
        assert sent.key == job.key
        assert not sent.needs
        done[job] = sent.run(store, {name: done[need] for name, need in job.needs.items()})
    assert all(job.find(store) is not None for job in graph.jobs)


def test_a_job_runs_what_it_needs_if_nobody_else_has(
    graph_of: Callable[..., Graph], tmp_path: Path
) -> None:
    graph, store = graph_of(), Store(tmp_path / "store")
    graph.jobs[-1].run(store)
    assert all(job.find(store) is not None for job in graph.jobs)


def test_parts_of_an_encoding_give_the_same_bytes_as_the_whole(
    graph_of: Callable[..., Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval_eval.encoders.hashing import HashingEncoder

    monkeypatch.setattr(HashingEncoder, "batch_texts", 7)
    whole, cut = (graph_of(encoders=["hashing"], shards=shards) for shards in (1, 4))
    parts = [job for job in cut.jobs if isinstance(job, EncodeJob) and job.rows]
    assert [job.rows for job in parts if job.side == "document"] == [
        (0, 14),
        (14, 28),
        (28, 42),
        (42, 60),
    ]
    found = []
    for number, graph in enumerate((whole, cut)):
        job = next(iter(graph.rows.values())).documents  # type: ignore[union-attr]
        artefact = job.run(Store(tmp_path / str(number)))
        found.append(np.array(read_embeddings(artefact.folder, artefact.meta)))
        assert artefact.meta["shape"] == [60, found[-1].shape[1]]
        assert artefact.meta["timed"]
    assert found[0].tobytes() == found[1].tobytes()


def test_an_encoder_that_is_fitted_is_not_cut(graph_of: Callable[..., Graph]) -> None:
    assert kinds(graph_of(shards=4))["encode"] == 2


def test_without_timing_nothing_is_timed_and_one_thread_builds(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of(timing="none")
    assert {job.kind for job in graph.jobs if job.timed} == {"encode"}  # it runs alone anyhow
    assert all(job.index.threads == 1 for job in graph.jobs if isinstance(job, BuildJob))
    timed = {job.kind for job in graph_of().jobs if job.timed}
    assert timed == {"encode", "build", "search"}


def test_only_the_first_seed_s_search_is_timed(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(indexes=["flat", {"faiss-hnsw": {"M": 4}}], build_seeds=3)
    searches = [job for job in graph.jobs if isinstance(job, SearchJob)]
    assert [job.timed for job in searches] == [True, True, False, False]


def test_what_only_encoding_shows_is_refused_as_soon_as_it_does(
    graph_of: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = graph_of(indexes=[{"ivf-pq": {"nlist": 2, "m": 2, "nbits": 4}}])
    job = next(one for one in graph.jobs if isinstance(one, EncodeJob))
    artefact = job.run(Store(tmp_path / "store"))
    graph.check(job, artefact)
    artefact.meta["shape"][1] = 7
    with pytest.raises(InputError, match="m"):
        graph.check(job, artefact)


def test_an_edit_of_an_index_inside_another_one_shows_in_its_key(
    graph_of: Callable[..., Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "from retrieval_eval.indexes.flat import FlatIndex\nclass Mine(FlatIndex):\n    name = 'm'"
    )
    (tmp_path / "inner_of_test.py").write_text(text)
    inside = [{"refine": {"index": "inner_of_test:Mine"}}, "inner_of_test:Mine"]

    def keys() -> tuple[list[str], list[str]]:
        graph = graph_of(indexes=inside)
        builds = [job.key for job in graph.jobs if isinstance(job, BuildJob)]
        return builds, [row.row_id for row in graph.plan.rows]

    before = keys()
    assert keys() == before
    (tmp_path / "inner_of_test.py").write_text(f"{text}\n    # edited")
    after = keys()
    assert all(not set(one) & set(other) for one, other in zip(before, after, strict=True))


def test_a_job_for_another_machine_carries_its_texts(
    graph_of: Callable[..., Graph], tmp_path: Path
) -> None:
    job = next(one for one in graph_of().jobs if isinstance(one, EncodeJob))
    kept = tmp_path / "texts"
    kept.mkdir()
    write_texts(kept, job.texts)
    on_disk = replace(job, texts=Texts(kept), corpus=Texts(kept))
    sent = pickle.dumps(on_disk.portable())
    shutil.rmtree(kept)
    there: EncodeJob = pickle.loads(sent)  # noqa: S301 (made here)
    assert there.key == job.key
    assert list(there.texts) == list(job.texts)
    assert there.run(Store(tmp_path / "elsewhere"), {}).meta["shape"] == [60, 8]
