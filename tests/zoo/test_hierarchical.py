"""Levels of ids, each a stream: HiTVideo."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create, list_models
from zoo.errors import SpecMismatchError, UsageError
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.hierarchical import Hierarchical


def test_hitvideo_gives_one_array_of_ids_a_level_for_64_frames() -> None:
    torch.manual_seed(0)
    config = preset("video/hitvideo_64.k8192").config
    layers = ("space", "time")
    tokenizer = Hierarchical(
        replace(
            config,
            quantizer=replace(config.quantizer, dim=16),
            width=16,
            heads=2,
            layers=layers,
            decoder_width=16,
            decoder_heads=2,
            decoder_layers=layers,
        )
    ).eval()
    x = clips(1, 64, 64)
    tokens = tokenizer.encode(x)
    shapes = {name: tuple(ids.shape[1:]) for name, ids in tokens.streams.items()}
    assert shapes == {"level0": (4, 2, 2), "level1": (8, 4, 4), "level2": (16, 8, 8)}
    assert all(stream.dtype == "uint16" for stream in tokenizer.spec.streams)
    assert tokenizer.decode(tokens).shape == x.shape
    assert tokenizer.decode(tokens.keep(1)).shape == x.shape, "the coarse level decodes alone"


def test_hitvideo_lowers_the_error_with_every_level() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/hierarchical_tiny")
    x = clips(2, 8, tokenizer.spec.multiple * 4)
    learned(tokenizer, x, steps=40)
    tokens = tokenizer.encode(x)
    errors = [float(functional.mse_loss(tokenizer.decode(tokens.keep(n)), x)) for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < float(x.var()) / 2


def test_stored_coarse_columns_are_tokens_too() -> None:
    tokenizer = create("video/hierarchical_tiny")
    x = clips(1, 8, 32)
    tokens = tokenizer.encode(x)
    stored = tokenizer.tokens({"level0": tokens["level0"]}, tokens.size)
    assert torch.equal(tokenizer.decode(stored), tokenizer.decode(tokens.keep(1)))
    with pytest.raises(SpecMismatchError, match="level0"):
        tokenizer.tokens({"level1": tokens["level1"]}, tokens.size)


def test_a_hierarchy_keeps_from_one_stream_to_all() -> None:
    tokens = create("video/hierarchical_tiny").encode(clips(1, 8, 32))
    assert list(tokens.keep(2).streams) == ["level0", "level1"]
    with pytest.raises(UsageError, match="1 to 3"):
        tokens.keep(4)
    assert "video/hierarchical_tiny" in list_models("video/hierarchical*", ordered=True)


def test_windows_that_cells_do_not_fill_are_refused() -> None:
    config = preset("video/hierarchical_tiny").config
    with pytest.raises(UsageError, match="multiple of 8"):
        replace(config, frames=12)
