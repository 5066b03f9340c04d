"""Sentence-transformers models: a tiny one made here, and a real one where there is a copy."""

from __future__ import annotations

import json
import os
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.encoders import Encoder, get_encoder
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.sweep import Sweep, run_sweep

st = pytest.importorskip(
    "sentence_transformers",
    reason="it is not installed: it comes with the extra 'sentence-transformers'",
)
# Warnings that these libraries raise about each other are not this package's.
pytestmark = pytest.mark.filterwarnings("default")

_MODEL = "RETRIEVAL_EVAL_TEST_MODEL"
TEXTS = ["the red apple", "an old steam engine", "plum", "a red plum and an apple"]


def encoder_of(folder: Path, **parameters: Any) -> Encoder:
    return get_encoder(
        "sentence-transformers", model=str(folder), **{"device": "cpu", **parameters}
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a BERT with random weights, a vocabulary of some 200 pieces, and no network."""
    torch = pytest.importorskip("torch")
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = [a + b for a in letters for b in "aeiou"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), ":", *pairs, "the", "red"]
    tokenizer = Tokenizer(
        models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token=special[1])
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made = tmp_path_factory.mktemp("model")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token=special[0],
        unk_token=special[1],
        cls_token=special[2],
        sep_token=special[3],
        mask_token=special[4],
    ).save_pretrained(made / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(made / "bert")
    folder = made / "sentence-transformers"
    SentenceTransformer(str(made / "bert"), device="cpu").save(str(folder))
    return folder


@pytest.mark.parametrize("kind", ["query", "document"])
def test_vectors_are_float32_of_unit_length(tiny: Path, kind: str) -> None:
    vectors = encoder_of(tiny).encode(TEXTS, kind)
    assert vectors.shape == (4, 32)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.linalg.matrix_rank(vectors) == 4


def test_vectors_keep_their_length_when_told_so(tiny: Path) -> None:
    plain = encoder_of(tiny, normalize=False).encode(TEXTS, "document")
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    assert (np.abs(lengths - 1) > 0.01).all()
    expected = encoder_of(tiny).encode(TEXTS, "document")
    np.testing.assert_allclose(plain / lengths, expected, atol=1e-5)


def test_order_and_batch_size_change_no_vector(tiny: Path) -> None:
    texts = [*TEXTS, "a " * 40, "red"]
    expected = encoder_of(tiny).encode(texts, "document")
    found = encoder_of(tiny, batch_size=1).encode(texts[::-1], "document")
    np.testing.assert_allclose(found[::-1], expected, atol=1e-5)


def test_a_prompt_is_put_before_each_text_of_its_kind(tiny: Path) -> None:
    plain = encoder_of(tiny)
    prompted = encoder_of(tiny, query_prompt="query: ", document_prompt="passage: ")
    for kind, prompt in (("query", "query: "), ("document", "passage: ")):
        expected = plain.encode([prompt + text for text in TEXTS], kind)
        found = prompted.encode(TEXTS, kind)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(found - plain.encode(TEXTS, kind)).max() > 1e-3
    one_sided = encoder_of(tiny, query_prompt="query: ")
    np.testing.assert_allclose(
        one_sided.encode(TEXTS, "document"), plain.encode(TEXTS, "document"), atol=1e-6
    )


def test_prompts_that_the_model_declares_hold_unless_another_is_given(
    tiny: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["prompts"] = {"query": "ask: ", "document": "text: "}
    path.write_text(json.dumps(config), encoding="utf-8")
    plain, declared = encoder_of(tiny), encoder_of(folder)
    for kind, prompt in (("query", "ask: "), ("document", "text: ")):
        expected = plain.encode([prompt + text for text in TEXTS], kind)
        np.testing.assert_allclose(declared.encode(TEXTS, kind), expected, atol=1e-5)
        none = encoder_of(folder, query_prompt="", document_prompt="")
        np.testing.assert_allclose(none.encode(TEXTS, kind), plain.encode(TEXTS, kind), atol=1e-5)
    other = encoder_of(folder, query_prompt="find: ").encode(TEXTS, "query")
    expected = plain.encode([f"find: {text}" for text in TEXTS], "query")
    np.testing.assert_allclose(other, expected, atol=1e-5)
    assert declared.identity() != plain.identity()


def test_truncate_dim_keeps_the_first_dimensions_at_unit_length(tiny: Path) -> None:
    whole = encoder_of(tiny, normalize=False).encode(TEXTS, "document")[:, :8]
    vectors = encoder_of(tiny, truncate_dim=8).encode(TEXTS, "document")
    assert vectors.shape == (4, 8)
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_max_length_cuts_a_text_after_so_many_tokens(tiny: Path) -> None:
    start, texts = "the red", ["the red the the the", "the red red red"]
    cut = encoder_of(tiny, max_length=4).encode([*texts, start], "document")
    np.testing.assert_allclose(cut[0], cut[2], atol=1e-5)  # two words between [CLS] and [SEP]
    np.testing.assert_allclose(cut[1], cut[2], atol=1e-5)
    whole = encoder_of(tiny).encode([*texts, start], "document")
    assert np.abs(whole[0] - whole[2]).max() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"query_prompt": "query: "},
        {"document_prompt": "passage: "},
        {"query_prompt": ""},
        {"normalize": False},
        {"truncate_dim": 8},
        {"max_length": 4},
    ],
    ids=str,
)
def test_what_shapes_the_vectors_is_part_of_the_identity(
    tiny: Path, change: dict[str, Any]
) -> None:
    assert encoder_of(tiny, **change).identity() != encoder_of(tiny).identity()


def test_batch_size_and_device_are_no_part_of_the_identity(tiny: Path) -> None:
    assert encoder_of(tiny, batch_size=7, device=None).identity() == encoder_of(tiny).identity()


def test_a_folder_is_identified_by_content_not_by_place(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "elsewhere" / "model")
    identity = encoder_of(tiny).identity()
    assert encoder_of(copy).identity() == identity
    assert str(tiny) not in json.dumps(identity)
    weights = next(copy.rglob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert encoder_of(copy).identity() != identity


def test_a_renamed_file_changes_the_identity(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "model")
    (copy / "modules.json").rename(copy / "other.json")
    assert encoder_of(copy).identity() != encoder_of(tiny).identity()


def test_construction_loads_nothing(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path / "missing")
    assert encoder.dimension() is None
    assert encoder.identity()["model"] == str(tmp_path / "missing")


def test_a_missing_model_is_refused_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it read the variable on import
    for name in ("no-such-owner/no-such-model", str(tmp_path / "missing"), str(tmp_path)):
        with pytest.raises(InputError) as caught:
            get_encoder("sentence-transformers", model=name).encode(["text"], "query")
        message = str(caught.value)
        assert message.startswith(
            f"encoder 'sentence-transformers': model {name!r} cannot be loaded: "
        )
        assert "Give a folder, or a hub name" in message
        assert "\n" not in message


# -- a real model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    """Return an encoder with all-MiniLM-L6-v2, or skip."""
    folder = os.environ.get(_MODEL)
    if not folder:
        pytest.skip(f"{_MODEL} is not set: it names a folder with all-MiniLM-L6-v2")
    return encoder_of(Path(folder))


def test_a_real_model_places_related_texts_closer(minilm: Encoder) -> None:
    vectors = minilm.encode(
        ["How do I bake bread?", "Recipe for a sourdough loaf", "The moons of Jupiter"], "query"
    )
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.4
    assert vectors[0] @ vectors[2] < 0.2


@pytest.mark.parametrize(
    ("texts", "vectors", "kind"),
    [("corpus.jsonl", "docs.npy", "document"), ("queries.jsonl", "queries.npy", "query")],
)
def test_a_real_model_agrees_with_stored_embeddings(
    minilm: Encoder, collections: Path, texts: str, vectors: str, kind: str
) -> None:
    lines = (collections / "cranfield" / texts).read_text(encoding="utf-8").splitlines()[:60]
    records = [json.loads(line) for line in lines]
    found = minilm.encode(
        [f"{record.get('title', '')} {record['text']}".strip() for record in records], kind
    )
    stored = np.load(collections / "embeddings" / "cranfield-minilm" / vectors)[:60]
    stored = stored.astype(np.float32)
    cosines = np.sum(found * stored, axis=1) / np.linalg.norm(stored, axis=1)
    assert cosines.min() > 0.999
    others = np.sum(found * np.roll(stored, 1, axis=0), axis=1)
    assert others.max() < 0.99, "any text agrees, so this shows nothing"


# through a sweep


def write_folder(folder: Path, documents: dict[str, str], queries: dict[str, str]) -> Path:
    """Write a dataset in BEIR's layout; query qN has the one relevant document N."""
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = (json.dumps({"_id": key, "text": text}) for key, text in texts.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = (f"{query}\t{query.removeprefix('q')}\t1" for query in queries)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows))
    return folder


def sweep_with(model: Path, dataset: Path, tmp_path: Path, **parameters: Any) -> dict[str, Any]:
    sweep = Sweep(
        name="models",
        datasets=[str(dataset)],
        encoders=[{"sentence-transformers": {"model": str(model), "label": "m", **parameters}}],
        indexes=["flat", {"ivf-flat": {"nlist": 2, "search": {"nprobe": 2}}}],
        k=10,
        measures=["nDCG@10", "RR@10"],
        timing={"repeats": 1, "latency_queries": 2, "batch_queries": 2},
        compare={"draws": 200},
    )
    results = run_sweep(sweep, out=tmp_path / "results", store=Store(tmp_path / "cache"))
    assert results.rows["status"].to_list() == ["ok", "ok"]
    assert results.rows["neighbour_recall@10"].to_list() == [1.0, 1.0]
    assert not results.comparisons["significant"].any()
    return dict(results.rows.row(0, named=True))


def test_a_model_built_here_runs_through_a_sweep(tiny: Path, tmp_path: Path) -> None:
    words = ["apple", "engine", "plum", "steam", "river", "stone", "cloud", "paper", "glass"]
    documents = {str(n): f"the {a} and {b}" for n, (a, b) in enumerate(permutations(words, 2))}
    queries = {f"q{n}": documents[str(n)] for n in range(0, 40, 4)}  # each its own document
    row = sweep_with(tiny, write_folder(tmp_path / "data", documents, queries), tmp_path)
    assert row["RR@10"] == 1.0
    assert row["n_queries"] == 10


def test_a_real_model_runs_through_a_sweep(collections: Path, tmp_path: Path) -> None:
    if not os.environ.get(_MODEL):
        pytest.skip(f"{_MODEL} is not set: it names a folder with all-MiniLM-L6-v2")
    with (collections / "scifact" / "corpus.jsonl").open(encoding="utf-8") as stream:
        records = [json.loads(line) for line, _ in zip(stream, range(60), strict=False)]
    documents = {record["_id"]: record["text"] for record in records}
    queries = {f"q{record['_id']}": record["title"] for record in records[:20]}
    dataset = write_folder(tmp_path / "data", documents, queries)
    row = sweep_with(Path(os.environ[_MODEL]), dataset, tmp_path)
    assert row["RR@10"] > 0.9  # an abstract is found by its title
