"""Collections of ir_datasets, by the library's own readers, from files in its own layout."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import shutil
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.beir import BeirFolder
from retrieval_eval.datasets.ir_datasets import IrDatasets, _downloads, _Fields, _guarded, _qrels
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.texts import Texts

# Not imported here: that would make its folder below the home of whoever runs the tests.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ir_datasets") is None, reason="needs the extra 'ir-datasets'"
)

DOCUMENTS = [
    {"_id": "d1", "title": "Wings", "text": "lift of a wing", "metadata": {"url": "u1"}},
    {"_id": "d2", "title": "", "text": "no title", "metadata": {"url": "u2"}},
    {"_id": "007", "title": "Nothing", "text": "", "metadata": {"url": ""}},
]
QUERIES = [
    {"_id": "q1", "text": "what lifts", "metadata": {}},
    {"_id": "q2", "text": "nobody judged this", "metadata": {}},
    {"_id": "q3", "text": "what else", "metadata": {}},
]
TEST = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq3\t007\t1\n"
DEV = "query-id\tcorpus-id\tscore\nq2\td1\t1\n"


def jsonl(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def pack(path: Path, name: str, corpus: str, queries: str, qrels: dict[str, str]) -> None:
    """Write a zip as BEIR publishes it, where the library keeps its download of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/corpus.jsonl", corpus)
        archive.writestr(f"{name}/queries.jsonl", queries)
        for split, text in qrels.items():
            archive.writestr(f"{name}/qrels/{split}.tsv", text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Import the library anew with a folder of its own, where no network is."""
    home = tmp_path_factory.mktemp("ir_datasets")
    with pytest.MonkeyPatch.context() as patch:
        for module in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
            patch.delitem(sys.modules, module)
        for variable, value in {
            "IR_DATASETS_HOME": str(home),
            "IR_DATASETS_TMP": str(home / "tmp"),
            "IR_DATASETS_DL_TRIES": "1",
            "IR_DATASETS_DL_TIMEOUT": "1",
            "IR_DATASETS_DL_DISABLE_PBAR": "true",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        }.items():
            patch.setenv(variable, value)
        tiny(home)
        yield home
        for module in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
            patch.delitem(sys.modules, module)


def tiny(home: Path, documents: list[dict[str, Any]] = DOCUMENTS) -> None:
    """Write the collection that the tests call nfcorpus."""
    shutil.rmtree(home / "beir" / "nfcorpus", ignore_errors=True)
    qrels = {"test": TEST, "dev": DEV, "train": TEST}
    queries = [{**one, "metadata": {"url": "u"}} for one in QUERIES]
    pack(
        home / "beir" / "nfcorpus" / "source.zip",
        "nfcorpus",
        jsonl(documents),
        jsonl(queries),
        qrels,
    )


def load(home: Path, wanted: str = "beir/nfcorpus/test", **parameters: Any) -> Dataset:
    return IrDatasets(id=wanted, **parameters).load("tiny", Store(home / "store"))


def refused(home: Path, wanted: str = "beir/nfcorpus/test", **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(home, wanted, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is read


def test_documents_queries_and_judgments_are_those_of_the_library(home: Path) -> None:
    dataset = load(home)
    assert dataset.name == "tiny"
    assert dataset.document_ids == ("d1", "d2", "007")
    assert list(dataset.documents) == ["Wings lift of a wing", "no title", "Nothing"]
    assert dataset.query_ids == ("q1", "q3")
    assert dataset.queries == ("what lifts", "what else")
    assert dataset.qrels.mapping == {"q1": {"d1": 2, "d2": 0}, "q3": {"007": 1}}
    assert isinstance(dataset.documents, Texts)


def test_collection_and_version_of_the_library_are_recorded(home: Path) -> None:
    import ir_datasets

    facts = load(home).facts
    assert facts["collection"] == "beir/nfcorpus/test"
    assert facts["ir_datasets"] == ir_datasets.__version__


def test_splits_of_a_collection_share_its_documents(home: Path) -> None:
    shutil.rmtree(home / "store", ignore_errors=True)
    test, dev = load(home), load(home, "beir/nfcorpus/dev")
    assert dev.query_ids == ("q2",)
    assert dev.corpus_fingerprint == test.corpus_fingerprint
    assert len(list((home / "store" / "corpora").iterdir())) == 1


def test_a_second_load_reads_no_document_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(home).summary()
    monkeypatch.setattr("retrieval_eval.datasets.ir_datasets._documents", None)
    assert load(home).summary() == before


def test_a_collection_that_was_replaced_on_the_disk_is_read_again(home: Path) -> None:
    before = load(home).corpus_fingerprint
    try:
        tiny(home, [{**DOCUMENTS[0], "text": "lift of a wind"}, *DOCUMENTS[1:]])
        changed = load(home)
        assert changed.corpus_fingerprint != before
        assert changed.documents[0] == "Wings lift of a wind"
    finally:
        tiny(home)
    assert load(home).corpus_fingerprint == before


def test_text_can_be_made_of_named_fields(home: Path) -> None:
    assert list(load(home, document_fields="title").documents) == ["Wings", "", "Nothing"]
    both = load(home, document_fields="url, title")
    assert list(both.documents) == ["u1 Wings", "u2", "Nothing"]
    assert load(home, query_fields="url").queries == ("u", "u")


def test_fields_can_be_kept_to_filter_on(home: Path) -> None:
    table = load(home, attributes="url").attribute_table(["url"])
    assert table["url"].to_list() == ["u1", "u2", ""]


def test_nothing_is_printed_logged_or_left_changed(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environment, filters = dict(os.environ), list(warnings.filters)
    tiny(home)
    load(home, "beir/nfcorpus/train")
    out, err = capfd.readouterr()
    assert out == ""
    assert "[INFO]" not in err
    assert dict(os.environ) == environment
    assert list(warnings.filters) == filters
    assert logging.getLogger("ir_datasets").filters == []


# what is refused


def test_an_unknown_id_suggests_the_nearest_of_its_family(home: Path) -> None:
    message = refused(home, "beir/nfcorpus/tset")
    assert message.startswith("ir_datasets: unknown id below 'beir/nfcorpus' 'beir/nfcorpus/tset'")
    assert "Did you mean 'beir/nfcorpus/test'?" in message
    assert "msmarco" not in message


def test_an_unknown_family_suggests_what_is_alike(home: Path) -> None:
    message = refused(home, "crandfield")
    assert "Did you mean 'cranfield'?" in message
    assert len(message) < 500
    assert "vaswani" in refused(home, "zzzz")


def test_a_collection_without_judgments_names_those_that_have_some(home: Path) -> None:
    assert refused(home, "beir/nfcorpus") == (
        "ir_datasets: 'beir/nfcorpus' has no judgments (it has documents and queries), and a "
        "dataset needs documents, queries and judgments; complete are beir/nfcorpus/dev, "
        "beir/nfcorpus/test, beir/nfcorpus/train"
    )
    assert "has no documents and no queries and no judgments" in refused(home, "beir")


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"document_fields": "titel"}, "documents: unknown field 'titel'. Did you mean 'title'?"),
        ({"query_fields": "txt"}, "queries: unknown field 'txt'. Did you mean 'text'?"),
        ({"attributes": "year"}, "documents: unknown field 'year'."),
    ],
)
def test_an_unknown_field_suggests_the_nearest(
    home: Path, parameters: dict[str, str], part: str
) -> None:
    assert f"ir_datasets 'beir/nfcorpus/test', {part}" in refused(home, **parameters)


def test_documents_without_a_text_of_their_own_need_fields(home: Path) -> None:
    message = refused(home, "codesearchnet/test")
    assert "set document_fields to some of doc_id, repo, path, func_name, code" in message


def test_a_missing_download_names_the_file_and_where_to_put_it(home: Path) -> None:
    message = refused(home, "vaswani")
    place = home / "vaswani"
    assert message.startswith("ir_datasets 'vaswani', judgments: cannot be read: ")
    assert "put http" in message
    assert f" as {place}" in message


def test_a_missing_download_of_any_size_names_its_place(home: Path) -> None:
    message = refused(home, "beir/fiqa/test")
    assert "fiqa.zip (md5 " in message
    assert f" as {home / 'beir' / 'fiqa' / 'source.zip'}" in message


def test_a_small_download_names_the_switch_that_lets_it_be_put_in_place(home: Path) -> None:
    from ir_datasets.util import DownloadConfig

    files = DownloadConfig.context("msmarco-passage").contents()
    place = home / "downloads" / files["trec-dl-2019/queries"]["expected_md5"]
    message = refused(home, "msmarco-passage/trec-dl-2019/judged")
    assert f" as {place} with IR_DATASETS_SMALL_FILE_SIZE=0 in the environment" in message
    cached = home / "msmarco-passage" / "trec-dl-2019" / "queries.tsv"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text("1\ta query\n")
    assert str(place) not in refused(home, "msmarco-passage/trec-dl-2019/judged")


def test_what_the_library_prints_is_kept_from_the_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with _guarded("x"):
        print("from the library")  # noqa: T201  what some of its readers do
    assert capfd.readouterr().out == ""


def test_a_collection_that_nobody_may_download_names_its_folder(home: Path) -> None:
    message = refused(home, "disks45/nocr/trec-robust-2004")
    assert f"put what it names as {home / 'disks45' / 'corpus'}" in message


def test_a_damaged_file_is_one_clear_error(home: Path) -> None:
    path = home / "beir" / "arguana" / "source.zip"
    pack(path, "arguana", jsonl(DOCUMENTS), jsonl(QUERIES), {"test": TEST})
    path.write_bytes(path.read_bytes()[:200])
    message = refused(home, "beir/arguana")
    assert message.startswith("ir_datasets 'beir/arguana', judgments: cannot be read: BadZipFile")


def test_a_bad_judgment_is_one_clear_error(home: Path) -> None:
    path = home / "beir" / "quora" / "source.zip"
    bad = {"test": TEST + "q1\td1\n", "dev": TEST}
    pack(path, "quora", jsonl(DOCUMENTS), jsonl(QUERIES), bad)
    message = refused(home, "beir/quora/test")
    assert "ir_datasets 'beir/quora/test', judgments: cannot be read: RuntimeError" in message


def test_an_unknown_document_names_part_and_way_out(home: Path) -> None:
    path = home / "beir" / "scidocs" / "source.zip"
    metadata = {"authors": [], "year": 1962, "cited_by": [], "references": []}
    documents = [{**one, "metadata": metadata} for one in DOCUMENTS]
    queries = [{**one, "metadata": metadata} for one in QUERIES]
    pack(path, "scidocs", jsonl(documents), jsonl(queries), {"test": TEST + "q1\td99\t1\n"})
    message = refused(home, "beir/scidocs")
    assert message.startswith("ir_datasets 'beir/scidocs', judgments: 'd99': document is not in ")
    assert "unknown_documents: keep" in message
    kept = load(home, "beir/scidocs", unknown_documents="keep", attributes="year")
    assert kept.qrels.mapping["q1"]["d99"] == 1
    assert kept.attribute_table(["year"])["year"].to_list() == [1962] * 3
    message = refused(home, "beir/scidocs", unknown_documents="keep", attributes="authors")
    assert "'d1': the field 'authors' holds list: attributes are numbers, text" in message
    message = refused(home, "beir/scidocs", document_fields="authors")
    assert "'d1': the field 'authors' holds list, and no text" in message


class Judgment(NamedTuple):
    query_id: str
    doc_id: str
    relevance: Any
    subtopic_id: str = ""


def judged(*rows: Judgment) -> Any:
    """Stand in for a collection whose judgments the tests have no small file of."""
    return SimpleNamespace(qrels_iter=lambda: iter(rows))


def test_judgments_of_subtopics_are_refused_or_taken_at_their_highest_grade() -> None:
    found = judged(
        Judgment("1", "d", 0, "a"), Judgment("1", "d", 2, "b"), Judgment("1", "e", 1, "b")
    )
    with pytest.raises(InputError, match="set repeated_judgments: highest") as caught:
        _qrels(found, "error", "judgments")
    assert "query '1' judged document 'd' more than once (1 judgments too many)" in str(
        caught.value
    )
    assert _qrels(found, "highest", "judgments").mapping == {"1": {"d": 2, "e": 1}}


def test_grades_that_are_text_are_read_as_numbers() -> None:
    assert _qrels(judged(Judgment("1", "d", "3")), "error", "x").mapping == {"1": {"d": 3}}
    with pytest.raises(InputError, match="grade 'good' is not a whole number"):
        _qrels(judged(Judgment("1", "d", "good")), "error", "x")
    with pytest.raises(InputError, match="x: there is no judgment"):
        _qrels(judged(), "error", "x")


# every collection of the library


def test_every_complete_collection_has_a_text_or_is_refused_by_its_fields(home: Path) -> None:
    import ir_datasets

    complete, without = 0, set()
    for wanted in list(ir_datasets.registry):
        found = ir_datasets.registry._registered[wanted]
        if not (found.has_docs() and found.has_queries() and found.has_qrels()):
            continue
        complete += 1
        for part in ("docs", "queries"):
            try:
                _Fields.of(found, wanted, part, "")
            except InputError:
                without.add((wanted.partition("/")[0], part))
    assert complete > 500
    assert without <= {
        ("clinicaltrials", "docs"),
        ("codesearchnet", "docs"),
        ("touche-image", "docs"),
        ("argsme", "docs"),
        ("wapo", "queries"),
    }


def test_the_downloads_of_a_collection_are_found_through_what_unpacks_them(home: Path) -> None:
    import ir_datasets

    (found,) = _downloads(ir_datasets.load("cranfield").docs_handler(), set())
    urls = [mirror.url for mirror in found.mirrors if hasattr(mirror, "url")]
    assert urls[0].endswith("cran.tar.gz")


# real collections


def test_scifact_is_the_same_as_from_its_folder(home: Path, collections: Path) -> None:
    folder = collections / "scifact"
    pack(
        home / "beir" / "scifact" / "source.zip",
        "scifact",
        (folder / "corpus.jsonl").read_text(encoding="utf-8"),
        (folder / "queries.jsonl").read_text(encoding="utf-8"),
        {"test": (folder / "qrels" / "test.tsv").read_text(encoding="utf-8")},
    )
    store = Store(home / "store")
    ours = BeirFolder(path=str(folder)).load("x", store).summary()
    theirs = load(home, "beir/scifact/test").summary()
    for key in ("documents", "queries", "judgments", "corpus", "queries_checksum", "qrels"):
        assert ours[key] == theirs[key]
    assert (theirs["documents"], theirs["queries"]) == (5183, 300)


def test_cranfield_is_read_from_the_form_it_was_published_in(home: Path, collections: Path) -> None:
    folder = collections / "cranfield"
    smart = {"cran.all.1400": "", "cran.qry": "", "cranqrel": ""}
    for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        smart["cran.all.1400"] += (
            f".I {one['_id']}\n.T\n{one['title']}\n.A\n.B\n.W\n{one['text']}\n"
        )
    for number, line in enumerate(
        (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    ):
        smart["cran.qry"] += f".I {number * 3 + 1:03}\n.W\n{json.loads(line)['text']}\n"
    judgments = (folder / "qrels" / "original.tsv").read_text(encoding="utf-8").splitlines()[1:]
    smart["cranqrel"] = "".join(f"{' '.join(line.split())}\n" for line in judgments)
    (home / "cranfield").mkdir(exist_ok=True)
    with tarfile.open(home / "cranfield" / "cran.tar.gz", "w:gz") as archive:
        for name, text in smart.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    dataset = load(home, "cranfield")
    plain = BeirFolder(path=str(folder), split="original").load("x", Store(home / "store"))
    assert dataset.document_ids == plain.document_ids
    assert dataset.queries == plain.queries
    assert dataset.qrels.fingerprint == plain.qrels.fingerprint
    stripped = [text.strip() for text in plain.documents]
    assert [text.strip() for text in dataset.documents] == stripped
