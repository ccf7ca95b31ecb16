"""`tokenize` and `export-tokens` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from tokenize_jobs.shards import TokenStream, TokenTable
from tokenize_jobs.testing import TokenCorpus, ids_of, record_tokens

CLIPS = 5


@pytest.fixture
def corpus(tmp_path: Path) -> TokenCorpus:
    table = TokenTable("video/vq", "5" * 64, "3" * 64, [TokenStream(levels=(1000,))])
    return record_tokens(
        tmp_path / "corpus", clips=CLIPS, table=table, arrays=lambda n: {"tokens": ids_of(n)}
    )


def test_export_writes_what_was_asked_for(
    corpus: TokenCorpus, clipmill: Any, tmp_path: Path
) -> None:
    root = corpus.catalog.storage.root
    result = clipmill(
        "export-tokens", root, "video/vq", str(tmp_path / "out"), "--format", "npy",
        "--where", "collection = 'odd'", "--columns", "collection", "--json",
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert told["windows"] == CLIPS // 2
    lines = (tmp_path / "out" / "index.jsonl").read_text().splitlines()
    assert {json.loads(line)["collection"] for line in lines} == {"odd"}


def test_tokenize_says_which_settings_it_does_not_know(
    corpus: TokenCorpus, clipmill: Any, tmp_path: Path
) -> None:
    zoo.create("video/causal_cnn_fsq_tiny").save(tmp_path / "model")
    root, model = corpus.catalog.storage.root, f"local-dir:{tmp_path / 'model'}"
    for option, value, allowed in (("--fps", "fast", "24, 30000/1001"), ("--size", "big", "128")):
        result = clipmill("tokenize", root, "--tokenizer", model, option, value)
        assert result.exit_code == 2
        assert f"{option} {value}" in result.stderr
        assert allowed in result.stderr


def test_captions_are_encoded_once(corpus: TokenCorpus, clipmill: Any) -> None:
    clip = f"{0:032x}"
    row = {"caption_id": "a", "clip_id": clip, "kind": "brief", "text": "a dog"}
    corpus.catalog.append("captions", [row, row | {"caption_id": "b", "kind": "detailed"}])
    root = corpus.catalog.storage.root
    planned = clipmill("tokenize-captions", root, "--dry-run")
    assert planned.stdout.splitlines()[1:] == ["texts to encode\t1", "texts there already\t0"]
    told = json.loads(clipmill("tokenize-captions", root, "--quiet", "--json").stdout)
    assert (told["texts"], told["tokens"], told["bytes"]) == (1, 6, 6)
    again = clipmill("tokenize-captions", root, "--quiet")
    assert again.stdout.startswith("0 texts encoded into tokens/text.bytes@")
    assert clipmill("tokenize-captions", root, "--kind", "motion").exit_code == 2
    unknown = clipmill("tokenize-captions", root, "--with", "byte")
    assert unknown.exit_code == 2
    assert "bytes" in unknown.stderr
