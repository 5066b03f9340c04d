"""Files of TREC: what is read, and one clear error for each thing that is wrong."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.beir import BeirFolder
from retrieval_eval.datasets.sgml import field_texts, read_blocks
from retrieval_eval.datasets.trec import TrecFiles
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.textfiles import pack_bytes

DOCUMENTS = """\
<DOC>
<DOCNO> FT911-3 </DOCNO>
<PROFILE>_AN-BEOA7AAIFT</PROFILE>
<HEADLINE>
FT  14 MAY 91 / International Company News
</HEADLINE>
<TEXT>
<!-- PJG STAG 4700 -->
<P>Lift &amp; drag of a wing,
1 &lt; 2.</P>
<P>AT&T and a < b.</P>
</TEXT>
</DOC>
<DOC>
<DOCNO>AP880212-0001</DOCNO>
<HEAD>One</HEAD>
<HEAD>Two</HEAD>
<TEXT>
   Body.
</TEXT>
<TEXT> More. </TEXT>
</DOC>
<doc>
<docno>007</docno>
Outside of any field.
</doc>
"""
TOPICS = """\

<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate
in international criminal activity.

<narr> Narrative:
A relevant document must &quot;name&quot; it.

</top>

<top>
<num> Number: 051
<dom> Domain: Military
<title> Topic:  Airbus Subsidies
<desc> Description:
Document mentions subsidies.
</top>
"""
QRELS = "301 0 FT911-3 2\n301 0 AP880212-0001 0\n051 0 007 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write files in which all is well."""
    folder = tmp_path / "disk"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.sgml").write_text(DOCUMENTS)
    (folder / "topics.txt").write_text(TOPICS)
    (folder / "qrels.txt").write_text(QRELS)
    return folder


def load(folder: Path, **parameters: Any) -> Dataset:
    given = {
        "documents": str(folder / "docs"),
        "topics": str(folder / "topics.txt"),
        "qrels": str(folder / "qrels.txt"),
    }
    return TrecFiles(**{**given, **parameters}).load("disk", Store(folder.parent / "store"))


def refused(folder: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# documents


def test_documents_are_read_between_their_tags(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.document_ids == ("FT911-3", "AP880212-0001", "007")
    assert list(dataset.documents) == [
        "FT 14 MAY 91 / International Company News Lift & drag of a wing, 1 < 2. AT&T and a < b.",
        "One Two Body. More.",
        "Outside of any field.",
    ]


def test_the_fields_of_a_document_can_be_chosen(folder: Path) -> None:
    dataset = load(folder, document_fields="head, PROFILE")
    assert list(dataset.documents) == ["_AN-BEOA7AAIFT", "One Two", ""]


def test_a_field_that_no_document_has_is_refused(folder: Path) -> None:
    message = refused(folder, document_fields="headlin")
    assert "unknown field (no document has it) 'headlin'. Did you mean 'headline'?" in message


def test_the_body_of_a_web_page_is_read_without_header_and_scripts(folder: Path) -> None:
    page = (
        "<DOC>\n<DOCNO>G1</DOCNO>\n<DOCHDR>\nhttp://x HTTP/1.1 200\n</DOCHDR>\n<html><head>"
        "<title>A title</title><script type='x'>var a;</script></head><body class=b>Caf&eacute; "
        "<![CDATA[1<2]]> and&hyph;so&#32;on<br/>end</body></html>\n</DOC>\n"
    )
    (folder / "docs" / "b.html").write_text(page)
    assert load(folder).documents[-1] == "A title Café 1<2 and&hyph;so on end"


def test_a_folder_is_read_in_the_order_of_its_names_packed_or_not(folder: Path) -> None:
    whole = load(folder).summary()
    first, rest = DOCUMENTS.split("<doc>")
    (folder / "docs" / "a.sgml").unlink()
    (folder / "docs" / "z").mkdir()
    (folder / "docs" / "z" / "0.gz").write_bytes(gzip.compress(f"<doc>{rest}".encode()))
    (folder / "docs" / "b.zst").write_bytes(pack_bytes(first.encode(), ".zst"))
    (folder / "docs" / ".hidden").write_text("no document")
    assert load(folder).summary() == {**whole, "files": 2}


def test_a_pattern_leaves_other_files_of_the_folder_out(folder: Path) -> None:
    (folder / "docs" / "README").write_text("Not a document.\n")
    assert refused(folder).startswith(f"{folder / 'docs' / 'README'}: holds no <DOC>")
    assert len(load(folder, pattern="*.sgml").documents) == 3
    assert "no file of the folder answers to the pattern '*.gz'" in refused(folder, pattern="*.gz")


def test_a_single_file_is_read_too(folder: Path) -> None:
    assert len(load(folder, documents=str(folder / "docs" / "a.sgml")).documents) == 3


def test_line_and_place_are_right_however_the_file_is_cut_into_chunks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "docs" / "a.sgml"
    path.write_text("what stands before\n" * 20 + DOCUMENTS)
    whole = list(read_blocks(path))
    assert [block.line for block in whole] == [21, 34, 43]
    data = path.read_bytes()
    for block in whole:
        assert data[block.offset :].startswith(block.data)
    for size in (1, 7, 64, 65, 100):
        monkeypatch.setattr("retrieval_eval.datasets.sgml._CHUNK", size)
        assert list(read_blocks(path)) == whole


def test_memory_holds_one_document_at_a_time(folder: Path) -> None:
    path = folder / "docs" / "a.sgml"
    with path.open("w") as stream:
        for number in range(200):
            stream.write(f"<DOC>\n<DOCNO>{number}</DOCNO>\n<TEXT>{'word ' * 20_000}</TEXT></DOC>\n")
    tracemalloc.start()
    n = sum(1 for _ in read_blocks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 200
    assert peak < 8_000_000 < path.stat().st_size


def test_a_changed_document_is_read_again_and_the_same_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(folder).corpus_fingerprint
    (folder / "docs" / "a.sgml").write_text(DOCUMENTS.replace("wing", "wind"))
    assert load(folder).corpus_fingerprint != before
    monkeypatch.setattr("retrieval_eval.datasets.trec._documents", None)
    load(folder)


def test_documents_can_be_json_lines(folder: Path) -> None:
    path = folder / "documents.jsonl.gz"
    records = [
        {"docno": "FT911-3", "title": "A", "contents": "b"},
        {"docno": "AP880212-0001", "title": None, "contents": "c", "url": "u"},
        {"docno": "007", "contents": ""},
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    assert list(load(folder, documents=str(path)).documents) == ["A b", "c", ""]
    chosen = load(folder, documents=str(path), document_fields="url contents")
    assert list(chosen.documents) == ["b", "u c", ""]
    assert "'URL'. Did you mean 'url'?" in refused(
        folder, documents=str(path), document_fields="URL"
    )
    message = refused(folder, documents=str(path), document_id="id")
    assert message.startswith(f"{path}:1: the key 'id' must hold a string")
    assert load(folder, documents=str(path), document_id="docno").document_ids[0] == "FT911-3"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"text": "x"}', "there is no key for the id: none of '_id', 'id', 'docno'"),
        ('{"id": "x"}', "there is no key for the text, set document_fields: none of 'text'"),
        ('{"id": 7, "text": "x"}', "the key 'id' must hold a string"),
        ('{"id": "7", "text": ["x"]}', "the key 'text' must hold a string"),
        ('{"id": "7", "title": 1, "text": "x"}', "the key 'title' must hold a string"),
        ('{"id": "a b", "text": "x"}', "the id 'a b' is empty or holds white space"),
        ("{", "not valid JSON"),
    ],
)
def test_a_bad_line_of_json_names_file_and_line(folder: Path, line: str, rule: str) -> None:
    path = folder / "documents.jsonl"
    path.write_text(f'{{"id": "FT911-3", "text": "x"}}\n\n{line}\n')
    assert refused(folder, documents=str(path)).startswith(f"{path}:3: {rule}")


def test_documents_can_be_a_table(folder: Path) -> None:
    path = folder / "collection.tsv"
    path.write_text("FT911-3\thttp://x\ttitle\tbody\nAP880212-0001\tu\t\tbody\n\n007\tx\ty\t\n")
    assert load(folder, documents=str(path)).documents[0] == "http://x title body"
    chosen = load(folder, documents=str(path), document_fields="3 4")
    assert list(chosen.documents) == ["title body", "body", "y"]
    assert "numbers of columns from 1" in refused(
        folder, documents=str(path), document_fields="body"
    )
    message = refused(folder, documents=str(path), document_fields="5")
    assert message.startswith(f"{path}:1: there is no column 5")
    path.write_text("FT911-3\tx\nno tab\n")
    assert refused(folder, documents=str(path)).startswith(f"{path}:2: expected an id, a tab and")


# topics


def test_topics_with_open_fields_are_read(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.query_ids == ("301", "051")
    assert dataset.queries == ("International Organized Crime", "Airbus Subsidies")


def test_fields_of_topics_are_joined_in_the_order_asked_for(folder: Path) -> None:
    assert load(folder, topic_fields="desc, title").queries == (
        (
            "Identify organizations that participate in international criminal activity. "
            "International Organized Crime"
        ),
        "Document mentions subsidies. Airbus Subsidies",
    )
    assert load(folder, topic_fields="title narrative narr").queries[0].endswith('"name" it.')


XML = """\
<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE topics>
<topics task="COVID">
  <topic number="301">
    <query>coronavirus orig\u00efn</query>
    <question>what is the <b>origin</b> &amp; so on</question>
    <narrative><![CDATA[a < b]]></narrative>
  </topic>
  <topic type="faceted" number="051"><query/><query>second</query>
  <subtopic number="1" type="nav">Find it</subtopic></topic>
</topics>
"""


def test_topics_in_xml_are_read_in_the_encoding_they_declare(folder: Path) -> None:
    (folder / "topics.txt").write_bytes(XML.encode("latin-1"))
    assert load(folder).queries == ("coronavirus orig\u00efn", "second")
    both = load(folder, topic_fields="title desc narr").queries
    assert both[0].startswith("coronavirus orig\u00efn what is the ")
    assert both[0].endswith("a < b")
    assert load(folder, topic_fields="query subtopic").queries[1] == "second Find it"


def test_closed_fields_of_topics_are_read(folder: Path) -> None:
    (folder / "topics.txt").write_text(
        "<top><num>301</num><title>One</title></top>\n<topic number='051'>Patient is 45.</topic>\n"
    )
    assert load(folder).queries == ("One", "Patient is 45.")


def test_topics_can_be_a_table_or_json_lines(folder: Path) -> None:
    (folder / "topics.txt").write_bytes(b"\xef\xbb\xbf301\twhat lifts\r\n051\twhat else\r\n")
    assert load(folder).queries == ("what lifts", "what else")
    path = folder / "topics.jsonl"
    path.write_text(
        '{"qid": "301", "query": "what lifts", "n": 1}\n{"qid": "051", "query": "what else"}\n'
    )
    assert load(folder, topics=str(path)).queries == ("what lifts", "what else")
    assert load(folder, topics=str(path), topic_fields="query").queries[0] == "what lifts"


def test_topics_without_judgments_are_left_out_and_counted(folder: Path) -> None:
    (folder / "qrels.txt").write_text("051 0 007 1\n")
    dataset = load(folder)
    assert dataset.query_ids == ("051",)
    assert dataset.facts == {
        "files": 1,
        "topic_fields": "title",
        "encoding": "utf-8",
        "queries_without_judgments": 1,
    }


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        (TOPICS.replace("</top>\n\n<top>", "<top>"), 13, "<top> inside a topic: its </top> is"),
        (TOPICS.rstrip().removesuffix("</top>"), 15, "the topic has no </top>: the file is cut"),
        (TOPICS.replace("<num> Number: 301", ""), 2, "the topic has no number"),
        (TOPICS.replace("051", "301"), 15, "the topic '301' occurs twice, first at "),
        (TOPICS.replace("051", "05 1"), 15, "the topic's id '05 1' is empty or holds white space"),
        ("</top>" + TOPICS, 1, "a topic ends that did not start"),
        ("301\tx\nno tab\n", 2, "expected a topic between tags, or an id, a tab and text"),
        ('\n<!DOCTYPE a [<!ENTITY b "cc">]>' + XML[44:], 2, "declares an entity, and none is"),
    ],
)
def test_a_bad_topic_names_file_and_line(folder: Path, text: str, line: int, rule: str) -> None:
    path = folder / "topics.txt"
    path.write_text(text)
    assert refused(folder).startswith(f"{path}:{line}: {rule}")


@pytest.mark.parametrize("text", ["", "\n", "<html></html>"])
def test_a_file_without_topics_is_refused(folder: Path, text: str) -> None:
    (folder / "topics.txt").write_text(text)
    assert refused(folder) == f"{folder / 'topics.txt'}: there is no topic"


def test_a_field_that_no_topic_has_is_refused(folder: Path) -> None:
    message = refused(folder, topic_fields="title nar")
    assert "unknown field (no topic has it) 'nar'. Did you mean 'narr'?" in message
    assert "topic_fields is empty" in refused(folder, topic_fields=" ")


def test_a_judged_topic_without_text_names_file_and_line(folder: Path) -> None:
    message = refused(folder, topic_fields="narr")
    assert message == f"{folder / 'topics.txt'}:15: the judged query '051' has no text"


# judgments


def test_ids_that_differ_by_leading_zeros_are_not_the_same_and_the_error_says_so(
    folder: Path,
) -> None:
    (folder / "qrels.txt").write_text("301 0 FT911-3 2\n51 0 007 1\n")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels.txt'}:2: '51': query is not in ")
    assert "there it is '051', and ids are compared as text: write both alike" in message


def test_an_unknown_document_names_line_and_way_out(folder: Path) -> None:
    (folder / "qrels.txt").write_text(QRELS + "051 0 zzz 1\n")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels.txt'}:4: 'zzz': document is not in ")
    assert load(folder, unknown_documents="keep").qrels.mapping["051"]["zzz"] == 1


def test_judgments_in_other_forms_are_read_and_refused(folder: Path) -> None:
    path = folder / "qrels.csv"
    path.write_text("query_id,doc_id,relevance\n301,FT911-3,1\n")
    assert load(folder, qrels=str(path)).qrels.mapping == {"301": {"FT911-3": 1}}
    path.write_text("query_id,doc_id,relevance\n302,FT911-3,1\n")
    assert refused(folder, qrels=str(path)).startswith(f"{path}: '302': query is not in ")


# what is refused


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        (DOCUMENTS.removesuffix("</doc>\n"), 23, "the document has no </DOC>: the file is cut"),
        (
            DOCUMENTS.replace("</DOC>\n<DOC>", "<DOC>"),
            13,
            "<DOC> inside the document that starts at line 1",
        ),
        ("</DOC>\n" + DOCUMENTS, 1, "</DOC> without a <DOC>"),
        (DOCUMENTS.replace("<docno>007</docno>", ""), 23, "the document has no <DOCNO>"),
        (DOCUMENTS.replace("007", "0 07"), 23, "the id '0 07' holds white space"),
        (DOCUMENTS.replace("007", "FT911-3"), 23, "the document id 'FT911-3' occurs twice, first"),
    ],
)
def test_a_bad_document_names_file_and_line(folder: Path, text: str, line: int, rule: str) -> None:
    path = folder / "docs" / "a.sgml"
    path.write_text(text)
    assert refused(folder).startswith(f"{path}:{line}: {rule}")


def test_another_encoding_names_line_and_byte_and_is_read_when_asked_for(folder: Path) -> None:
    path = folder / "docs" / "a.sgml"
    data = DOCUMENTS.replace("Outside", "Caf\u00e9").encode("latin-1")
    path.write_bytes(data)
    message = refused(folder)
    assert message.startswith(
        f"{path}:25: not utf-8 text (invalid continuation byte) at byte {data.index(0xE9)}: "
    )
    assert "encoding: latin-1" in message
    assert load(folder, encoding="latin-1").documents[-1].startswith("Caf\u00e9")


def test_the_same_bytes_in_another_encoding_are_read_again(folder: Path) -> None:
    path = folder / "docs" / "a.sgml"
    path.write_bytes(DOCUMENTS.replace("Outside", "\u201cCaf\u00e9").encode("cp1252"))
    assert load(folder, encoding="latin-1").documents[-1].startswith("\x93Caf\u00e9")
    assert load(folder, encoding="cp1252").documents[-1].startswith("\u201cCaf\u00e9")


@pytest.mark.parametrize(
    ("encoding", "rule"),
    [("utf-88", "there is no encoding 'utf-88'"), ("utf-16", "does not write tags as ASCII does")],
)
def test_an_encoding_that_cannot_be_is_refused(folder: Path, encoding: str, rule: str) -> None:
    assert rule in refused(folder, encoding=encoding)


def test_a_packed_file_that_is_cut_off_is_refused(folder: Path) -> None:
    path = folder / "docs" / "b.gz"
    path.write_bytes(gzip.compress(DOCUMENTS.encode())[:-20])
    assert refused(folder).startswith(f"{path}: cannot be read: ")
    path.unlink()
    path = folder / "docs" / "b.0Z"
    path.write_bytes(b"\x1f\x9d\x90" + bytes(100))
    assert refused(folder).startswith(f"{path}: packed by 'compress'")


@pytest.mark.parametrize("name", ["documents", "topics", "qrels"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    missing = str(folder / "nowhere")
    assert refused(folder, **{name: missing}).startswith(f"{missing}: there is no such file")


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "docs" / "a.sgml").write_text("")
    assert refused(folder).endswith("holds no <DOC>, and TREC's documents stand between such tags")
    (folder / "empty.jsonl").write_text("")
    assert refused(folder, documents=str(folder / "empty.jsonl")).endswith("the corpus is empty")


def test_a_document_without_end_does_not_fill_the_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.datasets.sgml._LARGEST", 1 << 20)
    path = folder / "docs" / "a.sgml"
    path.write_text("<DOC>" + "x" * (3 << 20))
    assert refused(folder) == f"{path}:1: no </DOC> within 1 MiB"


def test_a_tag_that_was_never_opened_closes_nothing() -> None:
    assert field_texts("</text>a<text>b</text></text>c<text>d", ("text",)) == ("b d", {"text"})


# real collections


def test_cranfield_in_the_form_of_trec_is_the_same_collection(
    folder: Path, collections: Path
) -> None:
    source = collections / "cranfield"
    plain = BeirFolder(path=str(source)).load("x", Store(folder.parent / "store"))
    escaped = [t.replace("&", "&amp;").replace("<", "&lt;") for t in plain.documents]
    documents = "".join(
        f"<DOC>\n<DOCNO>{key}</DOCNO>\n<TEXT>\n{text}\n</TEXT>\n</DOC>\n"
        for key, text in zip(plain.document_ids, escaped, strict=True)
    )
    (folder / "docs" / "a.sgml").write_text(documents)
    topics = "".join(
        f"<top>\n<num> Number: {key}\n<title> {text}\n</top>\n"
        for key, text in zip(plain.query_ids, plain.queries, strict=True)
    )
    (folder / "topics.txt").write_text(topics)
    dataset = load(folder, qrels=str(source / "qrels" / "test.tsv"))
    assert dataset.document_ids == plain.document_ids
    assert list(dataset.documents) == [" ".join(text.split()) for text in plain.documents]
    assert dataset.queries == tuple(" ".join(text.split()) for text in plain.queries)
    assert dataset.qrels.fingerprint == plain.qrels.fingerprint
