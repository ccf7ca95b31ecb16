"""Captions become tokens once, a changed one alone anew, and batches hold those of their texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from tokenize_jobs.captions import tokenize_captions
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.shards import unpack
from tokenize_jobs.testing import TokenCorpus, clip_name, record_tokens
from tokenize_jobs.text_encoders import text_encoder

CLIPS = 9


def caption(clip: int, kind: str, text: str) -> dict[str, Any]:
    name = clip_name(clip)
    return {"caption_id": f"{name}-{kind}", "clip_id": name, "kind": kind, "text": text}


@pytest.fixture
def corpus(tmp_path: Path) -> TokenCorpus:
    """Clips with windows; all but the last have a brief caption, some a detailed one as well."""
    made = record_tokens(tmp_path / "corpus", clips=CLIPS)
    rows = [caption(n, "brief", f"ein Hund läuft {n}") for n in range(CLIPS - 1)]
    rows += [caption(n, "detailed", "ein Hund " * (n + 1)) for n in range(0, CLIPS - 1, 2)]
    made.catalog.append("captions", rows)
    return made


def stored(catalog: Catalog, table: str) -> dict[tuple[str, str], Any]:
    view = table.replace("/", "_").replace(".", "_").replace("@", "_")
    rows = catalog.sql(f'select * from "{view}"').arrow()
    arrays = unpack(rows, catalog.columns(table))
    return {
        (row["clip_id"], row["transform_hash"]): array["tokens"]
        for row, array in zip(rows.to_pylist(), arrays, strict=True)
    }


def test_every_text_is_encoded_once(corpus: TokenCorpus) -> None:
    done = tokenize_captions(corpus.catalog, "bytes")
    assert (done.status, done.texts, done.present) == ("done", 12, 0)
    found = stored(corpus.catalog, done.table)
    texts = {bytes(array).decode() for array in found.values()}
    assert "ein Hund läuft 3\0" in texts
    assert len(found) == 12
    again = tokenize_captions(corpus.catalog, "bytes")
    assert (again.texts, again.present) == (0, 12)


def test_a_kind_and_a_condition_choose(corpus: TokenCorpus) -> None:
    asked = {"kind": "brief", "where": "collection = 'even'"}
    assert tokenize_captions(corpus.catalog, "bytes", dry_run=True, **asked).missing == 4
    assert tokenize_captions(corpus.catalog, "bytes", **asked).texts == 4
    assert tokenize_captions(corpus.catalog, "bytes").texts == 8


def test_a_changed_caption_is_encoded_alone(corpus: TokenCorpus) -> None:
    table = tokenize_captions(corpus.catalog, "words").table
    with corpus.catalog.transaction("mend") as txn:
        txn.upsert("captions", [caption(3, "brief", "eine Katze springt")])
    before = stored(corpus.catalog, table)
    done = tokenize_captions(corpus.catalog, "words")
    assert (done.texts, done.present) == (1, 11)
    after = stored(corpus.catalog, table)
    assert {clip for clip, _ in after.keys() - before.keys()} == {clip_name(3)}


def test_no_captions_is_an_error_that_says_who_writes_them(tmp_path: Path) -> None:
    bare = record_tokens(tmp_path / "corpus", clips=2)
    with pytest.raises(NotFoundError, match="clipmill caption"):
        tokenize_captions(bare.catalog, "bytes")


@pytest.mark.parametrize("captions", [(), ("captions",)])
def test_a_batch_holds_the_tokens_of_its_captions(
    corpus: TokenCorpus, captions: tuple[str, ...]
) -> None:
    table = tokenize_captions(corpus.catalog, "bytes").table
    columns = ["clip_id", *captions]
    feed = TokenFeed(corpus.catalog, "video/vq", text=table, columns=columns, batch=4, seed=3)
    told = {}
    for batch in feed.loader(workers=1):
        assert batch["text"].dtype == torch.int64
        assert batch["text"].shape == batch["text_mask"].shape
        for row, (ids, mask) in enumerate(zip(batch["text"], batch["text_mask"], strict=True)):
            read = bytes(ids[mask].tolist()).decode().rstrip("\0")
            told[batch["clip_id"][row]] = read
            assert not ids[~mask].any()
            if captions:
                assert read == batch["captions"][row]
    assert told.pop(clip_name(CLIPS - 1)) == ""
    assert all(text.startswith("ein Hund") for text in told.values())
    assert len(told) == CLIPS - 1


def test_tokens_of_a_text_that_is_gone_are_not_given_out(corpus: TokenCorpus) -> None:
    table = tokenize_captions(corpus.catalog, "bytes", kind="brief").table
    options = {"text": table, "columns": ["captions:brief", "clip_id"], "batch": 4}
    assert len(list(TokenFeed(corpus.catalog, "video/vq", **options))) == 3
    with corpus.catalog.transaction("mend") as txn:
        txn.upsert("captions", [caption(3, "brief", "eine Katze springt")])
    with pytest.raises(NotFoundError, match="1 caption"):
        TokenFeed(corpus.catalog, "video/vq", **options)
    tokenize_captions(corpus.catalog, "bytes", kind="brief")
    told = {}
    for batch in TokenFeed(corpus.catalog, "video/vq", **options):
        for clip, ids in zip(batch["clip_id"], batch["text"], strict=True):
            told[clip] = bytes(ids.tolist()).decode().rstrip("\0")
    assert told[clip_name(3)] == "eine Katze springt"


def test_a_state_with_other_texts_is_refused(corpus: TokenCorpus) -> None:
    table = tokenize_captions(corpus.catalog, "bytes").table
    state = TokenFeed(corpus.catalog, "video/vq").state_dict()
    with pytest.raises(UsageError, match="text"):
        TokenFeed(corpus.catalog, "video/vq", text=table).load_state_dict(state)


# -- encoders ----------------------------------------------------------------------------------


def test_words_are_those_that_generators_read() -> None:
    from zoo.layers.text import word_ids

    encoder = text_encoder("words")
    assert encoder.encode("A dog, a cat").tolist() == word_ids(["A dog, a cat"])[0].tolist()
    assert len(encoder.encode("")) == 1


def test_an_unknown_encoder_shows_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="bytes"):
        text_encoder("byte")


@pytest.fixture(scope="module", params=["t5", "clip", "bert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random text encoder with its tokenizer, as a folder of transformers."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp(request.param)
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "ein": 3, "hund": 4, "l": 5}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **special)
    made.save_pretrained(folder)
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    small |= {"num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": 16}
    built = {
        "t5": lambda: transformers.T5EncoderModel(
            transformers.T5Config(
                vocab_size=8, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
            )
        ),
        "clip": lambda: transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**small, eos_token_id=1, bos_token_id=0, pad_token_id=0)
        ),
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**small)),
    }[request.param]()
    built.save_pretrained(folder)
    return folder


def test_hidden_states_of_a_text_encoder_are_stored(corpus: TokenCorpus, model: Path) -> None:
    encoder = text_encoder(f"hf:{model}")
    values = encoder.encode("ein Hund")
    assert values.shape == (3, 16)
    assert np.array_equal(values, text_encoder(f"hf:{model}").encode("ein Hund"))
    assert not np.allclose(values[:1], encoder.encode("Hund ein")[:1])
    done = tokenize_captions(corpus.catalog, encoder, kind="brief")
    assert corpus.catalog.sql(
        "select dtype, channels, windows from token_shards where tokens = ?", [done.table]
    ).rows() == [("float16", 16, CLIPS - 1)]
    feed = TokenFeed(corpus.catalog, "video/vq", text=done.table, columns=["captions:brief"])
    batch = next(iter(feed))
    assert batch["text"].dtype == torch.float16
    assert batch["text"].shape == (CLIPS, 5, 16)
    longest = int(batch["text_mask"].sum(1).max())
    row = int(batch["text_mask"].sum(1).argmax())
    expected = encoder.encode(batch["captions"][row]).astype(np.float16)
    assert np.array_equal(batch["text"][row, :longest].numpy(), expected)


def test_ids_of_a_tokenizer_are_stored_without_its_model(corpus: TokenCorpus, model: Path) -> None:
    encoder = text_encoder(f"hf-ids:{model}")
    assert encoder.encode("ein hund").tolist() == [3, 4, 1]
    assert len(encoder.encode("ein " * 600)) <= 512
    assert tokenize_captions(corpus.catalog, encoder).texts == 12


def test_other_weights_are_another_table(model: Path, tmp_path: Path) -> None:
    before = text_encoder(f"hf:{model}").table
    copy = tmp_path / model.name
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert text_encoder(f"hf:{copy}").table.name == before.name
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "note": 1}))
    assert text_encoder(f"hf:{copy}").table.name != before.name


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(NotFoundError, match="no text encoder at"):
        text_encoder(f"hf:{tmp_path / 'none'}")
