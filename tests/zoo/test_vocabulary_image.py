"""Images in the words of a frozen vocabulary: V2L, UniCode, SPAE."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.artefact import load
from zoo.errors import UsageError
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.vocabulary_image import VocabularyImage

WORDS = ["sky", "grass", "Straße", "北京", *(f"thing{number}" for number in range(252))]


def narrow(name: str) -> VocabularyImage:
    """The preset's grid and depth with few channels and a vocabulary of 256 words."""
    torch.manual_seed(0)
    config = preset(name).config
    word_dim = None if config.sides else 16
    quantizer = replace(config.quantizer, dim=16, size=256, word_dim=word_dim)
    tokenizer = VocabularyImage(
        replace(config, quantizer=quantizer, width=8, blocks=1, decoder_width=8, decoder_blocks=1)
    ).eval()
    tokenizer.load_words(torch.randn(256, 16), WORDS)
    return tokenizer


def test_v2l_tokenizer_gives_word_ids_and_words() -> None:
    tokenizer = narrow("image/v2l_8.k32000")
    x = clips(2, 1, 64)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (2, 1, 8, 8)
    words = tokenizer.words(tokens)
    assert [[len(layer) for layer in clip] for clip in words] == [[64], [64]]
    assert words[1][0] == [WORDS[i] for i in tokens.ids[1].flatten().tolist()]
    column = " ".join(words[0][0])
    assert WORDS[int(tokens.ids[0, 0, 0, 0])] in column
    assert tokenizer.decode(tokens).shape == x.shape


def test_v2l_tokenizer_learns_to_draw_while_its_words_stand_still() -> None:
    torch.manual_seed(0)
    x = clips(2, 1, 16)
    tokenizer = create("image/vocabulary_words_tiny")
    before = tokenizer.quantizer.words.clone()
    learned(tokenizer, x, goal=0.02, steps=60)
    assert torch.equal(tokenizer.quantizer.words, before)
    assert functional.mse_loss(tokenizer.decode(tokenizer.encode(x)), x) < x.var() / 4


def test_unicode_stacks_text_ids_at_every_position() -> None:
    tokenizer = narrow("image/unicode_16.k32000")
    x = clips(1, 1, 64)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (1, 1, 4, 4, 4)
    assert tokenizer.spec.streams[0].levels == (256,) * 4, "one range, that of the text"
    assert preset("image/unicode_16.k32000").spec.streams[0].levels == (32000,) * 4
    assert [len(layer) for layer in tokenizer.words(tokens)[0]] == [16] * 4
    assert tokenizer.decode(tokens).shape == x.shape
    total = tokenizer.quantizer.words[tokens.ids].sum(dim=-2)
    assert torch.allclose(
        tokenizer.quantizer.out(total), tokenizer.quantizer.decode(tokens.ids), atol=1e-5
    )


def test_spae_lowers_the_error_with_every_layer_of_words() -> None:
    torch.manual_seed(0)
    x = clips(16, 1, 16)
    tokenizer = learned(create("image/vocabulary_pyramid_tiny"), x, steps=50)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (1, 1 + 4 + 16)
    errors = [
        float(functional.mse_loss(tokenizer.decode(tokens.keep(count)), x)) for count in (1, 5, 21)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] * 0.8
    layers = tokenizer.words(tokens)[0]
    assert [len(layer) for layer in layers] == [1, 4, 16], "word lists by layer"
    assert tokenizer.words(tokens.keep(5))[0] == layers[:2]


def test_spae_trains_what_it_decodes() -> None:
    tokenizer = create("image/vocabulary_pyramid_tiny")
    x = clips(2, 2, 16)
    made = tokenizer(x)
    tokens = tokenizer.encode(x)
    assert torch.equal(made.ids["tokens"], tokens.ids)
    assert made.output is not None
    drawn = tokenizer.decode(tokens)
    assert torch.allclose(made.output.clamp(-1, 1), drawn, atol=1e-4)


def test_spae_has_a_pyramid_of_five_layers() -> None:
    spec = preset("image/spae_128.k65000").spec
    assert spec.grid((1, 128, 128)) == {"tokens": (1, 1 + 4 + 16 + 64 + 256)}
    assert spec.streams[0].ordered == "n"


def test_words_travel_with_the_artefact(tmp_path) -> None:
    tokenizer = narrow("image/v2l_8.k32000")
    tokens = tokenizer.encode(clips(1, 1, 32))
    again = load(tokenizer.save(tmp_path))
    assert isinstance(again, VocabularyImage)
    assert again.words(tokens) == tokenizer.words(tokens)


def test_a_vocabulary_that_does_not_fit_is_refused() -> None:
    tokenizer = create("image/vocabulary_words_tiny")
    with pytest.raises(UsageError, match="3 words"):
        tokenizer.load_words(torch.randn(256, 16), ["a", "b", "c"])
    with pytest.raises(UsageError, match="49 bytes"):
        tokenizer.load_words(torch.randn(256, 16), ["x" * 49, *WORDS[1:]])
    with pytest.raises(UsageError, match="embeddings"):
        tokenizer.load_words(torch.randn(256, 8), WORDS)
    with pytest.raises(UsageError, match="a pyramid with depth 2"):
        replace(
            tokenizer.config,
            quantizer=replace(tokenizer.config.quantizer, cosine=False, depth=2),
            sides=(1, 2, 4),
        )


def test_without_words_there_is_nothing_to_encode_with() -> None:
    config = replace(preset("image/vocabulary_words_tiny").config, invented=False)
    with pytest.raises(UsageError, match="no words yet"):
        VocabularyImage(config).encode(clips(1, 1, 16))
