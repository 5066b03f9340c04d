"""The dataset cards: what may stand in one, what stands in ours, and the files they fetch."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.datasets import DATASETS
from retrieval_eval.datasets.cards import CARD_COLUMNS, Card, CardFile, card_rows, read_card
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.fetching import FetchError
from retrieval_eval.store import Store

SOURCES = {
    name: {one.name for one in dataclasses.fields(DATASETS.load(name).Parameters)}
    for name in DATASETS.names()
}
WITHOUT_CHECKSUMS = {"cacm", "lastfm-64-dot", "med", "t2ranking"}  # none are published
WITHOUT_SIZES = {"cisi"}
NAMES = catalogue_names("datasets")


@functools.cache
def shipped(name: str) -> Card:
    path = catalogue_file("datasets", name)
    assert path is not None
    return read_card(path)


# -- the cards of the folder datasets/ --------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_a_user_needs_to_know(name: str) -> None:
    card = shipped(name)
    for key in ("title", "licence", "relevance"):
        assert getattr(card, key).strip(), key
    assert card.facts.strip() or name == "stdlib"  # whose figures are every interpreter's own
    assert card.source in SOURCES
    assert set(card.parameters) <= SOURCES[card.source]
    assert card.sizes
    assert all(count > 0 for count in card.sizes.values())
    vectors = card.source == "ann-benchmarks"
    assert bool(card.language) is not vectors
    assert card.recommended_measures
    for measure in card.recommended_measures:
        parse_measure(measure)
    assert not card.homepage or card.homepage.startswith("https://")
    for file in card.files:
        assert file.url.startswith("https://")
        assert bool(file.checksums) is (name not in WITHOUT_CHECKSUMS)
        assert (file.bytes is None) is (name in {*WITHOUT_CHECKSUMS, *WITHOUT_SIZES})
    uses_files = any(str(value).startswith("$files") for value in card.parameters.values())
    assert uses_files is bool(card.files or card.obtain)


def test_titles_are_unique() -> None:
    titles = [shipped(name).title for name in NAMES]
    assert len(set(titles)) == len(titles)


def test_cards_that_share_a_folder_speak_of_the_same_files() -> None:
    by_place: dict[tuple[str, str], CardFile] = {}
    for name in NAMES:
        card = shipped(name)
        for file in card.files:
            place = (card.folder or name, file.file_name)
            assert by_place.setdefault(place, file) == file


def test_the_whole_of_beir_is_there() -> None:
    beir = {name.removeprefix("beir-") for name in NAMES if name.startswith("beir-")}
    assert len([name for name in beir if name.startswith("cqadupstack-")]) == 12
    assert {name for name in beir if not name.startswith("cqadupstack-")} == {
        *("arguana", "bioasq", "climate-fever", "dbpedia", "fever", "fiqa", "hotpotqa", "msmarco"),
        *("nfcorpus", "nq", "quora", "robust04", "scidocs", "scifact", "signal1m", "touche2020"),
        *("trec-covid", "trec-news"),
    }


def test_figures_agree_with_the_tables_of_ir_datasets() -> None:
    package = pytest.importorskip("ir_datasets")
    import json

    tables = Path(package.__file__).parent / "etc"
    downloads = json.loads((tables / "downloads.json").read_text())
    counts = json.loads((tables / "metadata.json").read_text())

    def count(key: str, what: str) -> int:
        entry = counts[key][what]
        return count(entry["_ref"], what) if "_ref" in entry else int(entry["count"])

    by_address = {one["url"]: one for one in downloads["beir"].values()}
    compared = 0
    for name in NAMES:
        card = shipped(name)
        for file in card.files:
            if card.source == "beir":
                known = by_address[file.url]
                assert (file.md5, file.bytes) == (known["expected_md5"], known["size_hint"]), name
                compared += 1
        if card.source == "ir-datasets" and name != "trec-robust-2004":
            key = card.parameters["id"]
            for what, said in (
                ("docs", "documents"),
                ("queries", "queries"),
                ("qrels", "judgments"),
            ):
                assert card.sizes[said] == count(key, what), (name, said)
            compared += 1
    assert compared > 30


def test_the_sizes_of_vector_files_hold_the_vectors() -> None:
    for name in NAMES:
        card = shipped(name)
        if card.source != "ann-benchmarks" or card.files[0].bytes is None:
            continue
        sizes = card.sizes
        vectors = 4 * sizes["dimensions"] * (sizes["documents"] + sizes["queries"])
        neighbours = 8 * sizes["neighbours"] * sizes["queries"]
        assert 0 <= card.files[0].bytes - vectors - neighbours < 100_000, name


def test_the_rows_of_the_listing() -> None:
    rows = {row[0]: row for row in card_rows()}
    assert list(rows) == NAMES
    assert all(len(row) == len(CARD_COLUMNS) for row in rows.values())
    assert rows["beir-scifact"][2:6] == ("en", "5,183", "300", "339")
    assert rows["beir-scifact"][-2] == "beir"
    assert rows["beir-scifact"][-1].startswith("claims and evidence CC BY 4.0")
    assert rows["sift-128-euclidean"][2:6] == ("", "1,000,000", "10,000", "")


# -- what may stand in a card -----------------------------------------------------------------


def card_from(folder: Path, text: str, name: str = "mine") -> Card:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return read_card(path)


FILE = "source: beir\nparameters: {path: $files/x}\nfiles:\n  - url: https://example.org/a/x.zip\n"


def test_a_card_of_ones_own_needs_a_source_alone(tmp_path: Path) -> None:
    card = card_from(tmp_path, "source: beir\n")
    assert (card.source, card.name, card.parameters, card.files) == ("beir", "mine", {}, ())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("title: x\n", "the key 'source' must be there"),
        ("source: beir\nlicense: MIT\n", "unknown key 'license'. Did you mean 'licence'?"),
        ("source: beir\nname: x\n", "unknown key 'name'"),
        ("source: beir\nlanguage: no\n", "parameter 'language' is False"),
        ("source: beir\nsizes: {documents: 1.5}\n", "parameter 'sizes' is {'documents': 1.5}"),
        ("source: beir\nsizes: {documents: -1}\n", "sizes holds documents: -1"),
        ("source: beir\nsizes: {docs: 1}\n", "it may count documents, queries, judgments"),
        ("source: beir\nrecommended_measures: nDCG\n", "parameter 'recommended_measures' is"),
        ("source: beir\nchecksums: {a: 'md5:12'}\n", "md5 of 'a' must be 32 hexadecimal digits"),
        ("source: beir\nchecksums: {a: abc}\n", "must be 'ALGORITHM:DIGITS'"),
        ("source: beir\nfolder: a/b\n", "folder must be a plain name"),
        ("source: beir\nfolder: ..\n", "folder must be a plain name"),
        ("source: beir\nfiles: {url: x}\n", "'files' must be a list of mappings"),
        ("source: beir\nfiles: [x]\n", "'files' must be a list of mappings"),
        ("source: beir\nfiles: [{name: x}]\n", "files[0]: parameter 'url' is required"),
        ("source: beir\nparameters: {path: $files/x}\n", "$files stands for nothing"),
        (FILE + "    md55: x\n", "files[0]: unknown parameter 'md55'. Did you mean 'md5'?"),
        (FILE + "    md5: abc\n", "files[0]: md5 must be 32 hexadecimal digits"),
        (FILE + f"    md5: {'A' * 32}\n", "in lower case"),
        (FILE + "    bytes: 1.5\n", "parameter 'bytes' is 1.5"),
        (FILE + "    bytes: -1\n", "parameter 'bytes' is -1"),
        (FILE + "    name: ../x\n", "name must be a plain file name, got '../x'"),
        (FILE + "    unpack: a/b\n", "unpack must be a plain file name"),
        (FILE + "    unpack: x.zip\n", "unpack would replace 'x.zip'"),
        (FILE + "  - url: https://example.org/b/x.zip\n", "files name 'x.zip' twice"),
        ("source: beir\nfiles: [{url: 'https://example.org/'}]\n", "name must be a plain file"),
    ],
)
def test_a_card_is_read_strictly(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        card_from(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert rule in str(caught.value)


def test_names_come_from_the_address(tmp_path: Path) -> None:
    def names(url: str, **more: object) -> tuple[str, str]:
        file = CardFile(url=url, **more)  # type: ignore[arg-type]  # a test's shorthand
        return file.file_name, file.unpacked_name

    assert names("https://example.org/a/x%20y.tar.gz?download=1") == ("x y.tar.gz", "")
    assert names("https://example.org/a/x.tar.gz", unpack=True) == ("x.tar.gz", "x")
    assert names("https://example.org/a", name="q.zip", unpack="set") == ("q.zip", "set")


def test_only_the_beginning_of_a_parameter_stands_for_the_folder(tmp_path: Path) -> None:
    card = card_from(tmp_path, "source: beir\nobtain: Ask.\nfolder: shared\n")
    given = {
        "a": "$files",
        "b": "$files/x/y",
        "c": {"d": ["$files/z", 1]},
        "e": "x/$files",
        "f": "$filesystem",
        "g": None,
    }
    folder = "/cache/downloads/shared"
    assert card.resolve(given, Store(Path("/cache"))) == {
        **given,
        "a": folder,
        "b": f"{folder}/x/y",
        "c": {"d": [f"{folder}/z", 1]},
    }
    assert given["a"] == "$files"


# -- fetching ---------------------------------------------------------------------------------


@dataclass
class Site:
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

        def do_GET(self) -> None:
            made.requests.append(self.path)
            data = made.files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def beir_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("tiny/corpus.jsonl", '{"_id": "d", "text": "t"}\n')
        made.writestr("tiny/queries.jsonl", '{"_id": "q", "text": "t"}\n')
        made.writestr("tiny/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n")
    return stream.getvalue()


def test_files_are_fetched_unpacked_and_loaded(site: Site, tmp_path: Path) -> None:
    from retrieval_eval.datasets.beir import BeirFolder

    data = beir_zip()
    site.files = {"/tiny.zip": data, "/extra.tsv.gz": gzip.compress(b"x")}
    digest = hashlib.sha256(data).hexdigest()
    text = f"""
source: beir
parameters: {{path: $files/tiny/tiny}}
files:
  - url: {site.url}/tiny.zip
    sha256: {digest}
    bytes: {len(data)}
    unpack: true
  - {{url: "{site.url}/extra.tsv.gz", unpack: true}}
"""
    card, store = card_from(tmp_path, text), Store(tmp_path / "cache")
    got: list[int] = []
    found = card.fetch(card.parameters, store, got.append)
    assert [(one.path.name, one.fresh) for one in found] == [
        ("tiny.zip", True),
        ("extra.tsv.gz", True),
    ]
    assert found[0].sha256 == digest
    assert sum(got) == sum(map(len, site.files.values()))
    assert (card.folder_in(store) / "extra.tsv").read_bytes() == b"x"
    dataset = BeirFolder(**card.resolve(card.parameters, store)).load("tiny", store)
    assert dataset.document_ids == ("d",)

    (card.folder_in(store) / "tiny.zip").unlink()  # what is unpacked is enough
    assert card.fetch(card.parameters, store) == []
    assert len(site.requests) == 2


def test_a_new_checksum_in_the_card_replaces_what_was_unpacked(site: Site, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    for content in (b"old", b"new"):
        data = gzip.compress(content, mtime=0)
        site.files = {"/x.gz": data}
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        (store.root / "downloads" / "mine" / "x.gz").unlink(missing_ok=True)
        text = "source: beir\nparameters: {path: $files/x}\nfiles:\n"
        text += f"  - {{url: '{site.url}/x.gz', md5: {md5}, unpack: true}}\n"
        card = card_from(tmp_path, text)
        card.fetch(card.parameters, store)
        assert (card.folder_in(store) / "x").read_bytes() == content


def test_nothing_is_fetched_for_parameters_that_point_elsewhere(site: Site, tmp_path: Path) -> None:
    text = f"source: beir\nparameters: {{path: $files/x}}\nfiles: [{{url: '{site.url}/x'}}]\n"
    card, store = card_from(tmp_path, text), Store(tmp_path / "cache")
    assert card.fetch({"path": "/my/own"}, store) == []
    assert site.requests == []
    assert not store.root.exists()
    with pytest.raises(FetchError, match="the server answered 404"):
        card.fetch(card.parameters, store)


def test_files_to_obtain_are_named_with_their_folder(tmp_path: Path) -> None:
    text = "source: beir\nparameters: {path: $files, other: $files/y}\n"
    text += "obtain: |\n  Ask NIST\n  for it.\n"
    card, store = card_from(tmp_path, text), Store(tmp_path / "cache")
    folder = tmp_path / "cache" / "downloads" / "mine"
    with pytest.raises(InputError) as caught:
        card.fetch(card.parameters, store)
    message = str(caught.value)
    assert f"dataset 'mine': {folder} is not there. Ask NIST for it." in message
    assert message.endswith(f"Put what you get into {folder}")
    (folder / "y").mkdir(parents=True)
    assert card.fetch(card.parameters, store) == []


def test_what_has_to_be_obtained_is_asked_for_before_the_rest_is_fetched(
    site: Site, tmp_path: Path
) -> None:
    site.files = {"/docs.tsv": b"1\tx\n"}
    text = "source: trec\nparameters: {documents: $files/docs.tsv, qrels: $files/qrels.txt}\n"
    text += f"files: [{{url: '{site.url}/docs.tsv'}}]\nobtain: Ask for the judgments.\n"
    card, store = card_from(tmp_path, text), Store(tmp_path / "cache")
    with pytest.raises(InputError, match=r"qrels\.txt is not there\. Ask for the judgments\."):
        card.fetch(card.parameters, store)
    assert site.requests == []
    card.folder_in(store).mkdir(parents=True)
    (card.folder_in(store) / "qrels.txt").write_text("1 0 1 1\n")
    assert [one.path.name for one in card.fetch(card.parameters, store)] == ["docs.tsv"]


def test_the_folder_itself_can_be_a_parameter(site: Site, tmp_path: Path) -> None:
    site.files = {"/a.txt": b"a"}
    text = f"source: beir\nparameters: {{path: $files}}\nfiles: [{{url: '{site.url}/a.txt'}}]\n"
    card, store = card_from(tmp_path, text), Store(tmp_path / "cache")
    card.fetch(card.parameters, store)
    assert (Path(card.resolve(card.parameters, store)["path"]) / "a.txt").read_bytes() == b"a"


def test_a_path_that_the_archive_does_not_hold_is_named(site: Site, tmp_path: Path) -> None:
    site.files = {"/tiny.zip": beir_zip()}
    text = "source: beir\nparameters: {path: $files/tiny/other}\n"
    card = card_from(tmp_path, text + f"files: [{{url: '{site.url}/tiny.zip', unpack: true}}]\n")
    with pytest.raises(InputError, match=r"tiny/other is not there\. The fetched files do not"):
        card.fetch(card.parameters, Store(tmp_path / "cache"))
