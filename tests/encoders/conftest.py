"""A tiny tokenizer and tiny models with random weights, made here, without the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread: for models this small, more only wait for each other."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a BERT of transformers alone, with the head of a masked language model."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

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
    folder = tmp_path_factory.mktemp("bert")
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
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dense(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dense model: mean pooling, 32 dimensions."""
    st: Any = pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("dense") / "model"
    st.SentenceTransformer(str(tiny_bert), device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_sparse(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a SPLADE over the vocabulary of 215 pieces."""
    st: Any = pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("sparse") / "model"
    st.SparseEncoder(str(tiny_bert), device="cpu").save(str(folder))
    return folder
