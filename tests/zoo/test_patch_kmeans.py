"""Centroids of patches: CCViT."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.artefact import load
from zoo.errors import UsageError
from zoo.layers.patches import cut
from zoo.registry import preset
from zoo.testing import clips
from zoo.tokenizers.patch_kmeans import Config, PatchKmeans


def test_ccvit_names_patches_by_the_nearest_centroid_and_decodes_to_the_mean() -> None:
    pictures = clips(24, 1, 64)
    tokenizer = PatchKmeans(Config(patch=8, size=128)).eval()
    left = tokenizer.fit(pictures)
    tokens = tokenizer.encode(pictures)
    assert tokens.ids.shape == (24, 1, 8, 8)
    patches = cut(pictures, 1, 8).flatten(0, 3)
    distances = torch.cdist(patches, tokenizer.quantizer.centroids)
    assert torch.equal(tokens.ids.flatten(), distances.argmin(-1))
    back = tokenizer.decode(tokens)
    assert float(functional.mse_loss(back, pictures)) == pytest.approx(left, rel=1e-4)
    assert left < float(pictures.var()) / 5


def test_ccvit_centroids_are_means_of_the_patches_they_stand_for() -> None:
    pictures = clips(8, 1, 32)
    tokenizer = PatchKmeans(Config(patch=8, size=4)).eval()
    tokenizer.fit(pictures, iterations=50)
    ids = tokenizer.encode(pictures).ids.flatten()
    patches = cut(pictures, 1, 8).flatten(0, 3)
    for number in ids.unique().tolist():
        mean = patches[ids == number].mean(0)
        assert torch.allclose(tokenizer.quantizer.centroids[number], mean, atol=1e-4)


def test_ccvit_has_8192_centroids_of_16_by_16_pixels() -> None:
    spec = preset("image/ccvit_16.k8192").spec
    assert spec.grid((1, 224, 224)) == {"tokens": (1, 14, 14)}
    assert spec.streams[0].levels == (8192,)
    assert spec.streams[0].dtype == "uint16"


def test_fitting_is_repeatable_and_travels_with_the_artefact(tmp_path) -> None:
    pictures = clips(8, 1, 32)
    one, other = (PatchKmeans(Config(patch=8, size=16)).eval() for _ in range(2))
    one.fit(pictures)
    other.fit(pictures)
    assert one.spec.hash == other.spec.hash
    again = load(one.save(tmp_path))
    assert torch.equal(again.encode(pictures).ids, one.encode(pictures).ids)


def test_what_is_not_fitted_says_so() -> None:
    with pytest.raises(UsageError, match="not fitted"):
        PatchKmeans(Config(patch=8, size=16)).encode(clips(1, 1, 32))
    with pytest.raises(UsageError, match="samples for 64 centroids"):
        create("image/patch_kmeans_tiny").fit(clips(1, 1, 8))
