"""Re-ranking by a cross-encoder: a tiny one made here, without any network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval import Ids, InputError, Run
from retrieval_eval.combiners import CombineContext, Combiner, get_combiner
from retrieval_eval.combiners.cross_encoder import merge_scores

QUERIES = {"q1": "red apple", "q2": "steam engine", "q3": "plum"}
DOCUMENTS = {
    "d0": "the red apple",
    "d1": "an old steam engine",
    "d2": "plum",
    "d3": "a red plum and an apple",
    "d4": "iron and steam and iron and steam and iron and steam",
    "d5": "plum",
    "d6": "",
}
RUN = Run.from_mapping(
    {
        "q1": {"d0": 9.0, "d1": 8.0, "d2": 7.0, "d3": 6.0, "d4": 6.0, "d5": 5.0},
        "q2": {"d4": 3.0, "d6": 2.0},
        "q3": {"d2": 1.0, "d5": 1.0, "d3": 0.5, "d0": 0.5},
    },
    name="first",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a BERT classifier with random weights and so many outputs."""
    pytest.importorskip(
        "sentence_transformers",
        reason="it is not installed: it comes with the extra 'sentence-transformers'",
    )
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), ":"]
    tokenizer = Tokenizer(
        models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token=special[1])
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )

    def make(outputs: int = 1) -> Path:
        folder = tmp_path_factory.mktemp("cross-encoder")
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=64,
            pad_token=special[0],
            unk_token=special[1],
            cls_token=special[2],
            sep_token=special[3],
            mask_token=special[4],
        ).save_pretrained(folder)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=outputs,
            initializer_range=0.5,
        )
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Path]) -> Path:
    return tiny()


def context(**values: Any) -> CombineContext:
    return CombineContext(
        **{
            "query_ids": list(QUERIES),
            "queries": list(QUERIES.values()),
            "document_ids": list(DOCUMENTS),
            "documents": list(DOCUMENTS.values()),
            **values,
        }
    )


def combiner_of(folder: Path, **parameters: Any) -> Combiner:
    return get_combiner("cross-encoder", model=str(folder), **{"device": "cpu", **parameters})


pytestmark = pytest.mark.filterwarnings("default")  # of these libraries about each other


def library_scores(folder: Path, run: Run, **options: Any) -> dict[str, dict[str, float]]:
    """Score every pair alone, by the library's own call."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", **options)
    return {
        query: {
            document: float(
                model.predict(
                    [(QUERIES[query], DOCUMENTS[document])], activation_fn=torch.nn.Identity()
                )[0]
            )
            for document in documents
        }
        for query, documents in run.to_mapping().items()
    }


def test_every_pair_gets_the_score_of_the_library(model: Path) -> None:
    expected = library_scores(model, RUN)
    combined = combiner_of(model).combine([RUN], context(name="second"))
    assert combined.run.name == "second"
    found = combined.run.to_mapping()
    for query, documents in expected.items():
        assert found[query] == pytest.approx(documents, abs=1e-5)
        scores = list(documents.values())
        assert max(scores) - min(scores) > 1e-2 or query == "q2"
    assert list(found["q1"]) != list(RUN.to_mapping()["q1"])


def test_documents_beyond_the_depth_follow_in_their_order(model: Path) -> None:
    expected = library_scores(model, RUN)
    combined = combiner_of(model, depth=3).combine([RUN], context())
    found = combined.run.to_mapping()
    for query, before in RUN.to_mapping().items():
        old, new = list(before), list(found[query])
        assert sorted(new[:3]) == sorted(old[:3])
        assert new[3:] == old[3:]
        assert {d: found[query][d] for d in new[:3]} == pytest.approx(
            {d: expected[query][d] for d in new[:3]}, abs=1e-5
        )
        assert (np.diff(list(found[query].values())[2:]) == -1).all()
    assert (combined.facts["pairs"], len(combined.run)) == (8, len(RUN))


def test_documents_beyond_the_depth_can_be_cut(model: Path) -> None:
    kept = combiner_of(model, depth=3).combine([RUN], context()).run
    cut = combiner_of(model, depth=3, keep_rest=False).combine([RUN], context()).run
    assert cut.to_mapping() == kept.top(3).to_mapping()


@pytest.mark.parametrize("keep_rest", [True, False])
def test_a_small_k_cuts_after_re_ranking(model: Path, keep_rest: bool) -> None:
    whole = combiner_of(model, keep_rest=keep_rest).combine([RUN], context())
    cut = combiner_of(model, keep_rest=keep_rest).combine([RUN], context(k=1))
    assert cut.run.to_mapping() == whole.run.top(1).to_mapping()
    assert cut.facts["pairs"] == whole.facts["pairs"] == len(RUN)


def test_equal_texts_are_scored_once_and_alike(model: Path) -> None:
    combined = combiner_of(model).combine([RUN], context())
    assert (combined.facts["pairs"], combined.facts["scored"]) == (12, 10)
    for query in ("q1", "q3"):
        scores = combined.run.to_mapping()[query]
        assert scores["d2"] == scores["d5"]
        places = list(scores)
        assert places.index("d5") < places.index("d2")  # tied, so id descending


def test_order_and_batch_size_change_no_score(model: Path) -> None:
    expected = combiner_of(model).combine([RUN], context()).run.to_mapping()
    turned = Run.from_mapping(dict(reversed(RUN.to_mapping().items())))
    found = combiner_of(model, batch_size=1).combine([turned], context()).run.to_mapping()
    for query, scores in expected.items():
        assert found[query] == pytest.approx(scores, abs=1e-5)


def test_many_pairs_go_part_by_part(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = combiner_of(model).combine([RUN], context()).run.to_mapping()
    monkeypatch.setattr("retrieval_eval.combiners.cross_encoder._PAIRS", 5)
    found = combiner_of(model).combine([RUN], context()).run.to_mapping()
    for query, scores in expected.items():
        assert found[query] == pytest.approx(scores, abs=1e-5)


class OnDisk(Sequence[str]):
    """Texts that note which rows are read."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: Any) -> Any:
        assert isinstance(row, int)
        self.read.append(row)
        return self.texts[row]

    def __iter__(self) -> Any:
        raise AssertionError("the whole corpus was read")


def test_only_texts_that_are_ranked_again_are_read(model: Path) -> None:
    many = [*DOCUMENTS.values(), *(f"text {row}" for row in range(1000))]
    texts = OnDisk(many)
    ids = Ids.of([*DOCUMENTS, *(f"e{row}" for row in range(1000))])
    combined = combiner_of(model, depth=1).combine(
        [RUN], context(document_ids=ids, documents=texts)
    )
    assert texts.read == [0, 4, 5]
    plain = combiner_of(model, depth=1).combine([RUN], context())
    assert combined.run.to_mapping() == plain.run.to_mapping()


def test_rows_of_the_corpus_need_no_look_up(model: Path) -> None:
    rows = {document: row for row, document in enumerate(DOCUMENTS)}
    ids = Ids.of(list(DOCUMENTS))
    document = np.array([rows[RUN.document_ids[row]] for row in RUN.document], dtype=np.int32)
    run = Run("first", RUN.query_ids, ids, RUN.query, document, RUN.score)
    found = combiner_of(model).combine([run], context(document_ids=ids)).run
    expected = combiner_of(model).combine([RUN], context()).run
    assert found.to_mapping() == expected.to_mapping()


def test_identity_and_identical_options_of_the_library(model: Path) -> None:
    plain = combiner_of(model).combine([RUN], context()).run.to_mapping()
    for activation in ("sigmoid", "model"):  # this model declares none, and the default is that
        found = combiner_of(model, activation=activation).combine([RUN], context())
        for query, scores in plain.items():
            squashed = {d: 1 / (1 + np.exp(-score)) for d, score in scores.items()}
            assert found.run.to_mapping()[query] == pytest.approx(squashed, abs=1e-5)
    half = combiner_of(model, dtype="bfloat16").combine([RUN], context()).run.to_mapping()
    assert half["q1"] != plain["q1"]
    assert half["q1"] == pytest.approx(plain["q1"], abs=0.3)
    short = combiner_of(model, max_length=8).combine([RUN], context()).run.to_mapping()
    assert short["q1"] == pytest.approx(library_scores(model, RUN, max_length=8)["q1"], abs=1e-5)
    assert short["q1"] != pytest.approx(plain["q1"], abs=1e-3)


def test_a_prompt_is_put_before_the_query(model: Path) -> None:
    prompted = combiner_of(model, prompt="find: ").combine([RUN], context()).run
    queries = [f"find: {text}" for text in QUERIES.values()]
    spelled = combiner_of(model).combine([RUN], context(queries=queries)).run
    plain = combiner_of(model).combine([RUN], context()).run
    for query, scores in spelled.to_mapping().items():
        assert prompted.to_mapping()[query] == pytest.approx(scores, abs=1e-5)
        assert plain.to_mapping()[query] != pytest.approx(scores, abs=1e-3)


def test_the_identity_is_the_content_of_the_folder(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    first = combiner_of(model).identity()
    assert combiner_of(copy).identity() == first
    assert combiner_of(copy, batch_size=7).identity() == first
    for change in (
        {"depth": 7},
        {"keep_rest": False},
        {"activation": "sigmoid"},
        {"prompt": "q: "},
        {"max_length": 9},
        {"dtype": "float16"},
    ):
        assert combiner_of(copy, **change).identity() != first
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert combiner_of(copy).identity() != first


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_score_that_is_no_number_is_refused_by_name(
    model: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    combiner = combiner_of(model)
    honest = type(combiner)._score

    def damaged(self: Any, model: Any, pairs: list[tuple[str, str]]) -> Any:
        scores = honest(self, model, pairs)
        scores[pairs.index((QUERIES["q2"], DOCUMENTS["d4"]))] = float(value)
        return scores

    monkeypatch.setattr(type(combiner), "_score", damaged)
    with pytest.raises(
        InputError, match=f"query 'q2' and document 'd4' is {value}, as are 1 of 12: are the model"
    ):
        combiner.combine([RUN], context())


def test_a_model_with_several_outputs_is_refused(tiny: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="has 3 outputs, which order nothing"):
        combiner_of(tiny(3)).combine([RUN], context())


def test_a_folder_without_a_model_is_refused(tmp_path: Path, tiny: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"combiner 'cross-encoder': model .* cannot be loaded: "):
        combiner_of(tmp_path).combine([RUN], context())


def test_revision_and_device_reach_the_library(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(name: str, **options: Any) -> None:
        asked.append((name, options["revision"], options["device"]))
        raise OSError("no hub here.")

    monkeypatch.setattr("sentence_transformers.CrossEncoder", refuse)
    combiner = get_combiner("cross-encoder", model="a/b", revision="0af1", device="cpu")
    with pytest.raises(InputError, match=r"model 'a/b' cannot be loaded: no hub here. Give a fold"):
        combiner.combine([RUN], context())
    assert asked == [("a/b", "0af1", "cpu")]


def test_it_takes_one_run(model: Path) -> None:
    combiner_of(model).check(1)
    with pytest.raises(InputError, match="combiner 'cross-encoder' takes 1 run, got 2"):
        combiner_of(model).check(2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query_ids": ["q1"], "queries": ["a"]}, "query 'q2' of run 'first' has no text"),
        (
            {"document_ids": ["d0", "d1"], "documents": ["a", "b"]},
            "document 'd2' of run 'first' has no text: is it of another corpus",
        ),
    ],
)
def test_a_missing_text_is_refused_before_a_model_is_loaded(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        get_combiner("cross-encoder", model="none/such").combine([RUN], context(**values))


def test_scores_below_the_re_ranked_ones_differ_however_large_they_are() -> None:
    run = Run.from_mapping({"q": {f"d{row}": float(-row) for row in range(50)}})
    for lowest in (0.0, -3e38, 3e38, 1e17, -1e17, 1e-300):
        merged = merge_scores(run, 2, np.array([lowest, lowest]))
        assert (np.diff(merged.score[1:]) < 0).all()
        assert [merged.document_ids[row] for row in merged.document][2:] == [
            f"d{row}" for row in range(2, 50)
        ]
