"""Sentence-transformers models: a tiny one made here, and a real one where there is a copy."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.encoders import Encoder, get_encoder
from retrieval_eval.encoders import sentence_transformers as dense
from retrieval_eval.encoders._model_sizes import plan_batches, token_budget
from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.store import Store
from retrieval_eval.sweep import Sweep, run_sweep

st = pytest.importorskip(
    "sentence_transformers",
    reason="it is not installed: it comes with the extra 'sentence-transformers'",
)
# Warnings that these libraries raise about each other are not this package's.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

_MODEL = "RETRIEVAL_EVAL_TEST_MODEL"
TEXTS = ["the red apple", "an old steam engine", "plum", "a red plum and an apple"]


def encoder_of(folder: Path | str, **parameters: Any) -> Encoder:
    return get_encoder(
        "sentence-transformers", model=str(folder), **{"device": "cpu", **parameters}
    )


@pytest.fixture
def tiny(tiny_dense: Path) -> Path:
    return tiny_dense


def long_and_short(n: int) -> list[str]:
    """Make texts of 1 to 60 words, many of a length."""
    words = ["red", "the", "ba", "ce", "di", "fo", "gu", "plum"]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, size=size)) for size in rng.integers(1, 60, size=n)]


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
        {"query_prompt_name": "query"},
        {"dtype": "bfloat16"},
        {"precision": "int8"},
    ],
    ids=str,
)
def test_what_shapes_the_vectors_is_part_of_the_identity(
    tiny: Path, change: dict[str, Any]
) -> None:
    assert encoder_of(tiny, **change).identity() != encoder_of(tiny).identity()


def test_what_decides_speed_alone_is_no_part_of_the_identity(tiny: Path) -> None:
    other = encoder_of(tiny, batch_size=7, device=None, processes=2)
    assert other.identity() == encoder_of(tiny).identity()


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


# -- windows, batches, processes --------------------------------------------------------------


def test_a_stream_goes_on_anywhere_bit_for_bit(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(encoder_of(tiny)), "batch_texts", 40)
    texts = long_and_short(150)
    parts = list(encoder_of(tiny).stream(texts, "document"))
    assert [len(part) for part in parts] == [40, 40, 40, 30]
    for start in (40, 120):
        rest = np.concatenate(list(encoder_of(tiny).stream(texts, "document", start=start)))
        np.testing.assert_array_equal(rest, np.concatenate(parts)[start:])
    assert list(encoder_of(tiny).stream(texts, "document", start=150)) == []


def test_a_batch_size_found_by_itself_changes_nothing_but_the_last_digits(tiny: Path) -> None:
    texts = long_and_short(100)
    expected = encoder_of(tiny, batch_size=1).encode(texts, "document")
    np.testing.assert_allclose(encoder_of(tiny).encode(texts, "document"), expected, atol=1e-5)


def test_no_text_gives_no_row(tiny: Path) -> None:
    assert encoder_of(tiny).encode([], "query").shape == (0, 32)


def test_batches_hold_texts_of_like_length_within_a_budget() -> None:
    lengths = np.array([3, 600, 17, 64, 65, 5, 600, 128, 90])
    plan = plan_batches(lengths, limit=512, budget=1024, batch_size=None)
    assert [(rows.tolist(), size) for rows, size in plan] == [
        ([1, 6], 2),
        ([7, 8, 4], 8),
        ([3], 16),
        ([2], 32),
        ([5, 0], 64),
    ]
    ((rows, size),) = plan_batches(lengths, limit=512, budget=1024, batch_size=3)
    assert (rows.tolist(), size) == ([1, 6, 7, 8, 4, 3, 2, 5, 0], 3)
    ((_, size),) = plan_batches(np.array([9000]), limit=8192, budget=100, batch_size=None)
    assert size == 1


def test_a_budget_goes_down_with_the_width_of_a_model_and_of_its_vocabulary() -> None:
    most = token_budget("cpu", 2**30, 384, 0)
    assert most == token_budget("cpu", 2**30, 1024, 0) == 4096
    assert token_budget("cpu", 2**30, 768, 250_000) < token_budget("cpu", 2**30, 768, 30_522) < most
    assert token_budget("cuda", 2**34, 384, 0) == 65_536
    assert token_budget("cpu", 1, 768, 0) == 1


@pytest.mark.parametrize("batch_size", [None, 16])
def test_batches_are_halved_while_the_device_runs_out_of_memory(
    tiny: Path, batch_size: int | None
) -> None:
    import torch

    texts = long_and_short(60)
    expected = encoder_of(tiny).encode(texts, "document")
    encoder: Any = encoder_of(tiny, batch_size=batch_size)
    model = encoder._load()
    inner, sizes = model.encode_document, []

    def outer(texts: list[str], **options: Any) -> Any:
        sizes.append(len(texts))
        if len(texts) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return inner(texts, **options)

    model.encode_document = outer
    np.testing.assert_allclose(encoder.encode(texts, "document"), expected, atol=1e-5)
    tried = list(dict.fromkeys(sizes))[:4]
    assert tried == ([16, 8, 4, 2] if batch_size else tried)
    assert max(tried) > 3
    first = list(sizes)
    sizes.clear()
    encoder.encode(texts, "document")
    assert sizes == first, "a window must not depend on those before it"


def test_a_text_that_never_fits_is_an_error_that_lets_go_of_the_model(tiny: Path) -> None:
    import torch

    def never(*_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    encoder: Any = encoder_of(tiny)
    encoder._load().encode_document = never
    with pytest.raises(RuntimeError, match="out of memory"):
        encoder.encode(TEXTS, "document")
    assert encoder._model is None
    assert encoder.encode(TEXTS, "document").shape == (4, 32)


@pytest.mark.slow
def test_processes_give_the_same_vectors_and_end_when_encoding_fails(tiny: Path) -> None:
    texts = long_and_short(60)
    before = os.environ.get("OMP_NUM_THREADS")
    expected = encoder_of(tiny, batch_size=16).encode(texts, "document")
    encoder: Any = encoder_of(tiny, batch_size=16, processes=2)
    np.testing.assert_array_equal(encoder.encode(texts, "document"), expected)
    pool = encoder._pool
    processes = {process.pid for process in pool["processes"]}
    assert processes <= {child.pid for child in multiprocessing.active_children()}
    encoder.encode(TEXTS, "query")
    assert encoder._pool is pool
    assert os.environ.get("OMP_NUM_THREADS") == before
    encoder._model.encode_document = None  # whatever goes wrong
    with pytest.raises(TypeError):
        encoder.encode(TEXTS, "document")
    assert not processes & {child.pid for child in multiprocessing.active_children()}
    encoder.close()  # twice does no harm


def test_processes_get_the_batches_that_one_process_makes(tiny: Path) -> None:
    texts = long_and_short(60)
    encoder: Any = encoder_of(tiny, batch_size=16)
    expected = encoder.encode(texts, "document")
    inner, seen = encoder._model.encode_document, []

    def outer(texts: list[str], *, pool: str, chunk_size: int, **options: Any) -> Any:
        seen.append((pool, chunk_size, options["batch_size"]))
        starts = range(0, len(texts), chunk_size)
        return np.concatenate([inner(texts[n : n + chunk_size], **options) for n in starts])

    encoder._model.encode_document = outer
    encoder._pool = "a pool"
    np.testing.assert_array_equal(encoder.encode(texts, "document"), expected)
    assert seen == [("a pool", 16, 16)]


def test_a_process_that_dies_is_reported_with_a_way_out(tiny: Path) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("1 multi-process pool worker(s) died unexpectedly: pid 7 (exit code -9)")

    encoder: Any = encoder_of(tiny)
    encoder._load().encode_document = dies
    with pytest.raises(RetrievalEvalError, match=r"exit code -9.*choose fewer processes"):
        encoder.encode(TEXTS, "document")


def test_close_stops_processes_once(tiny: Path) -> None:
    encoder: Any = encoder_of(tiny)
    encoder._load()
    encoder._model.stop_multi_process_pool = (stopped := []).append
    encoder._pool = {"processes": []}
    encoder.close()
    encoder.close()
    assert stopped == [{"processes": []}]
    assert encoder.encode(TEXTS, "query").shape == (4, 32)
    encoder.close()


def test_fitting_hands_the_loaded_model_over(tiny: Path) -> None:
    encoder: Any = encoder_of(tiny, precision="int8")
    model = encoder._load()
    fitted: Any = encoder.fit(TEXTS)
    assert fitted._model is model
    assert encoder._model is None


def test_processes_need_devices(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"processes is 2, but device is 'cuda:1': several"):
        encoder_of(tiny, processes=2, device="cuda:1").encode(TEXTS, "query")
    with pytest.raises(InputError, match=r"processes is 99, but CUDA has \d+ devices here"):
        encoder_of(tiny, processes=99, device="cuda").encode(TEXTS, "query")


# -- prompts by name, arithmetic, precision ---------------------------------------------------


def with_prompts(folder: Path, target: Path, prompts: dict[str, str]) -> Path:
    shutil.copytree(folder, target)
    path = target / "config_sentence_transformers.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"prompts": prompts}), encoding="utf-8")
    return target


def test_a_prompt_can_be_chosen_by_name(tiny: Path, tmp_path: Path) -> None:
    folder = with_prompts(tiny, tmp_path / "model", {"find": "find: ", "keep": "keep: "})
    named = encoder_of(folder, query_prompt_name="find", document_prompt_name="keep")
    texts = encoder_of(folder, query_prompt="find: ", document_prompt="keep: ")
    for kind in ("query", "document"):
        np.testing.assert_array_equal(named.encode(TEXTS, kind), texts.encode(TEXTS, kind))
        assert np.abs(named.encode(TEXTS, kind) - encoder_of(tiny).encode(TEXTS, kind)).max() > 1e-3
    pattern = r"unknown query_prompt_name 'fnd'. Did you mean 'find'\? Available: .*find.*keep"
    with pytest.raises(InputError, match=pattern):
        encoder_of(folder, query_prompt_name="fnd").encode(TEXTS, "document")


def test_a_prompt_by_text_and_by_name_is_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"query_prompt is '' and query_prompt_name is 'query'"):
        encoder_of(tiny, query_prompt="", query_prompt_name="query")


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("bfloat16", 0.05)])
def test_arithmetic_of_another_type_gives_near_vectors_as_float32(
    tiny: Path, dtype: str, near: float
) -> None:
    expected = encoder_of(tiny).encode(TEXTS, "document")
    vectors = encoder_of(tiny, dtype=dtype).encode(TEXTS, "document")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=near)
    assert (dtype == "float32") == np.array_equal(vectors, expected)


def test_float16_rounds_the_vectors_to_half_precision(tiny: Path) -> None:
    expected = encoder_of(tiny).encode(TEXTS, "document")
    vectors = encoder_of(tiny, precision="float16").encode(TEXTS, "document")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected.astype(np.float16))
    assert not np.array_equal(vectors, expected)


def test_binary_keeps_the_sign_so_that_products_count_agreements(tiny: Path) -> None:
    expected = encoder_of(tiny).encode(TEXTS, "document")
    vectors = encoder_of(tiny, precision="binary").encode(TEXTS, "document")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.where(expected > 0, 1.0, -1.0))
    agree = (expected[0] > 0) == (expected[1] > 0)
    assert vectors[0] @ vectors[1] == 2 * agree.sum() - 32


def test_int8_keeps_256_values_a_dimension_and_nearly_the_products(tiny: Path) -> None:
    documents = long_and_short(300)
    exact = encoder_of(tiny)
    encoder = encoder_of(tiny, precision="int8")
    assert encoder.needs_fit
    assert not exact.needs_fit
    with pytest.raises(InputError, match=r"precision 'int8' must be fitted first"):
        encoder.encode(TEXTS, "query")
    fitted = encoder.fit(documents)
    vectors, expected = (one.encode(documents, "document") for one in (fitted, exact))
    step = (expected.max(axis=0) - expected.min(axis=0)) / 256
    assert (np.abs(vectors - expected) <= step / 2 + 1e-6).all()
    assert max(len(np.unique(column)) for column in vectors.T) <= 256
    assert not np.array_equal(vectors, expected)
    queries, plain = (one.encode(TEXTS, "query") for one in (fitted, exact))
    np.testing.assert_allclose(queries @ vectors.T, plain @ expected.T, atol=0.02)
    assert (queries <= expected.max(axis=0)).all(), "queries are rounded by the documents' ranges"
    again = encoder_of(tiny, precision="int8").fit(documents)
    np.testing.assert_array_equal(again.encode(documents, "document"), vectors)


def test_int8_is_calibrated_on_documents_from_first_to_last(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "_CALIBRATION", 5)
    seen: list[list[str]] = []

    def floats(self: Any, texts: list[str], kind: str) -> Any:
        assert kind == "document"
        seen.append(texts)
        return np.arange(len(texts), dtype=np.float32)[:, None] * np.ones(3, np.float32)

    monkeypatch.setattr(dense.SentenceTransformersEncoder, "_floats", floats)
    fitted: Any = encoder_of(tiny, precision="int8").fit([str(n) for n in range(101)])
    assert seen == [["0", "25", "50", "75", "100"]]
    np.testing.assert_array_equal(fitted._ranges, [[0, 0, 0], [4, 4, 4]])
    encoder_of(tiny, precision="int8").fit(["a", "b"])
    assert seen[1] == ["a", "b"]


def test_a_dimension_that_never_varies_keeps_its_value() -> None:
    ranges = np.array([[0.5, -1], [0.5, 1]], dtype=np.float32)
    values = dense._middles(np.array([[0.5, 1], [0.5, -1], [9, 9]], dtype=np.float32), ranges)
    assert values[:, 0].tolist() == [0.5, 0.5, 0.5]
    np.testing.assert_allclose(values[:, 1], [1 - 1 / 256, -1 + 1 / 256, 1 - 1 / 256])


# -- what is refused --------------------------------------------------------------------------


def test_more_dimensions_or_tokens_than_the_model_has_are_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"truncate_dim is 33, but it has 32 dimensions"):
        encoder_of(tiny, truncate_dim=33).encode(TEXTS, "query")
    with pytest.raises(InputError, match=r"max_length is 65, but it has 64 positions"):
        encoder_of(tiny, max_length=65).encode(TEXTS, "query")


def test_a_model_that_reads_texts_of_any_length_takes_no_maximum(
    tiny: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    module = StaticEmbedding(tokenizer, embedding_dim=8)
    st.SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / "static"))
    assert encoder_of(tmp_path / "static").encode(TEXTS, "query").shape == (4, 8)
    with pytest.raises(InputError, match=r"reads texts of any length: leave max_length out"):
        encoder_of(tmp_path / "static", max_length=8).encode(TEXTS, "query")


def test_a_folder_has_no_revision(tiny: Path) -> None:
    encoder = encoder_of(tiny, revision="main")
    for action in (encoder.identity, lambda: encoder.encode(TEXTS, "query")):
        with pytest.raises(InputError, match=r"is a folder, which has no revisions: leave out"):
            action()


def test_a_sparse_model_is_refused_naming_its_encoder(tiny_sparse: Path, tmp_path: Path) -> None:
    encoder = encoder_of(tiny_sparse)
    for action in (lambda: encoder.check(9, 9), lambda: encoder.encode(TEXTS, "query")):
        with pytest.raises(InputError, match=r"sparse model: use encoder 'sentence-transformers-s"):
            action()
    older = shutil.copytree(tiny_sparse, tmp_path / "older")
    (older / "config_sentence_transformers.json").unlink()
    with pytest.raises(InputError, match=r"sparse model: use encoder 'sentence-transformers-s"):
        encoder_of(older).check(9, 9)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"config.json": {"architectures": ["BertForSequenceClassification"]}},
            "cannot be used: it is a cross-encoder, which scores pairs",
        ),
        (
            {
                "modules.json": [],
                "config_sentence_transformers.json": {"model_type": "MultiVectorEncoder"},
            },
            "cannot be used: it makes a vector of each token",
        ),
        (
            {"modules.json": [{"type": "custom_st.Transformer", "path": "", "name": "0"}]},
            r"needs code of its own \(custom_st.Transformer\), which is never run",
        ),
        ({"modules.json": {"a": 1}}, "its files are not those of a model"),
    ],
    ids=["cross-encoder", "late-interaction", "own-code", "nonsense"],
)
def test_a_folder_of_another_kind_is_refused(
    tmp_path: Path, files: dict[str, Any], reason: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    encoder = encoder_of(tmp_path)
    for action in (lambda: encoder.check(9, 9), lambda: encoder.encode(TEXTS, "query")):
        with pytest.raises(InputError, match=reason):
            action()


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(InputError, match=r"modules.json: not valid JSON"):
        encoder_of(tmp_path).check(9, 9)


def test_code_in_a_model_of_transformers_is_never_run(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd", "AutoModel": "odd.Odd"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InputError, match=r"needs code of its own, which is never run: encode in"):
        encoder_of(folder).encode(TEXTS, "query")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("backend", "missing"), [("onnx", "optimum"), ("onnx", "onnxruntime"), ("openvino", "openvino")]
)
def test_a_missing_backend_names_the_command_that_installs_it(
    tiny: Path, backend: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    there = {"optimum": find("json"), "onnxruntime": find("json"), "openvino": find("json")}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, package=None: (
            None if name == missing else there.get(name) or find(name, package)
        ),
    )
    encoder = encoder_of(tiny, backend=backend)
    for action in (encoder.require, lambda: encoder.encode(TEXTS, "query")):
        with pytest.raises(InputError) as caught:
            action()
        message = str(caught.value)
        assert f"backend {backend!r} needs the library {missing!r}" in message
        assert f"pip install 'sentence-transformers[{backend}]'" in message


def test_a_backend_gives_the_same_vectors(tiny: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it comes with sentence-transformers[onnx]")
    expected = encoder_of(tiny).encode(TEXTS, "document")
    encoder = encoder_of(tiny, backend="onnx")
    np.testing.assert_allclose(encoder.encode(TEXTS, "document"), expected, atol=1e-5)
    assert encoder.identity() != encoder_of(tiny).identity()


@pytest.mark.parametrize("change", [{"dtype": "float16"}, {"processes": 2}], ids=str)
def test_what_goes_with_torch_alone_is_refused_with_another_backend(
    tiny: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"backend is 'onnx': that goes with backend 'torch'"):
        encoder_of(tiny, backend="onnx", **change)


# -- the local cache of the hub ---------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the hub, which cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_into(hub: Path, owner: str, name: str, model: Path, commit: str) -> None:
    """Store a model as a download of its main branch would."""
    folder = hub / f"models--{owner}--{name}"
    shutil.copytree(model, folder / "snapshots" / commit)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


def test_a_hub_model_is_identified_by_the_commit_that_is_cached(tiny: Path, hub: Path) -> None:
    old, new = "a" * 40, "b" * 40
    put_into(hub, "me", "model", tiny, old)
    encoder = encoder_of("me/model")
    assert encoder.identity()["revision"] == old
    assert encoder_of("me/model", revision="main").identity() == encoder.identity()
    expected = encoder_of(tiny).encode(TEXTS, "query")
    np.testing.assert_array_equal(encoder.encode(TEXTS, "query"), expected)
    other = with_prompts(tiny, hub / "other", {"query": "find: "})
    put_into(hub, "me", "model", other, new)
    moved = encoder_of("me/model")
    assert moved.identity()["revision"] == new
    found = moved.encode(TEXTS, "query")
    np.testing.assert_array_equal(found, encoder_of(other).encode(TEXTS, "query"))
    back = encoder_of("me/model", revision=old)
    assert back.identity() == encoder.identity()
    np.testing.assert_array_equal(back.encode(TEXTS, "query"), expected)
    # An identity that was asked for before the branch moved holds for the encoder that gave it.
    encoder.close()
    np.testing.assert_array_equal(encoder.encode(TEXTS, "query"), expected)


def test_a_short_name_is_the_librarys_own_model(tiny: Path, hub: Path) -> None:
    put_into(hub, "sentence-transformers", "tiny", tiny, "c" * 40)
    assert encoder_of("tiny").identity() == encoder_of("sentence-transformers/tiny").identity()
    assert encoder_of("tiny").encode(TEXTS, "query").shape == (4, 32)


def test_a_hub_model_that_cannot_be_found_keeps_its_name(hub: Path) -> None:
    identity = encoder_of("me/none", revision="v1").identity()
    assert (identity["model"], identity["revision"]) == ("me/none", "v1")


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


@pytest.mark.slow
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
