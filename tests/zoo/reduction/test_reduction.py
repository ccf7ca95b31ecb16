"""Reductions that learn nothing: counts, maps back, and what published systems do with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InputError, UsageError
from zoo.layers.attention import TransformerLayer
from zoo.reduction import (
    Reduced,
    aggregate,
    base,
    budget,
    contextual,
    exact,
    fuse,
    merge,
    prompted,
    prune,
    windows,
)

B, T, N, D = 2, 8, 16, 12


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(B, T, N, D, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def worth() -> Tensor:
    return torch.rand(B, T * N, generator=torch.Generator().manual_seed(2))


def assert_means(reduced: Reduced, tokens: Tensor) -> None:
    """Each token is the mean of those that the map sends to it."""
    line = tokens.flatten(1, 2)
    assert reduced.index is not None
    for clip in range(len(line)):
        for place in reduced.mask[clip].nonzero().flatten().tolist():
            behind = line[clip, reduced.index[clip] == place]
            assert torch.allclose(behind.mean(0), reduced.tokens[clip, place], atol=1e-5)
            assert len(behind) == pytest.approx(float(reduced.weights[clip, place]))


def test_vtm_merges_to_the_count_and_preserves_the_weighted_mean(tokens, worth) -> None:
    saliency = worth + 0.1
    for count in (1, 7, 40, T * N):
        reduced = merge.merge_to(tokens, count, saliency)
        assert reduced.tokens.shape == (B, count, D)
        assert reduced.index is not None
        assert all(set(row.tolist()) == set(range(count)) for row in reduced.index)
        before = (tokens.flatten(1, 2) * saliency.unsqueeze(-1)).sum(1)
        after = (reduced.tokens * reduced.weights.unsqueeze(-1)).sum(1)
        assert torch.allclose(before, after, atol=1e-4)
    assert_means(merge.merge_to(tokens, 40), tokens)


def test_what_is_equal_is_merged_first() -> None:
    kinds = torch.eye(6)
    line = kinds[torch.arange(48) // 8 % 6].unsqueeze(0)
    reduced = merge.merge_to(line, 6)
    assert torch.allclose(reduced.tokens[0], kinds, atol=1e-6)


def test_vid_tldr_drops_the_background_and_keeps_the_embedding() -> None:
    generator = torch.Generator().manual_seed(0)
    line = 0.3 * torch.randn(B, T * N, D, generator=generator)
    thing = torch.zeros(T * N, dtype=torch.bool)
    thing[40:56] = True
    line[:, thing] += 2
    attention = (line @ line.transpose(1, 2) / D**0.5).softmax(-1)
    whole = functional.normalize((attention @ line).mean(1), dim=-1)
    reduced = merge.merge_salient(line.unflatten(1, (T, N)), attention, 8)
    assert reduced.tokens.shape[1] <= 8
    assert reduced.index is not None
    assert bool((reduced.index[:, ~thing] == -1).all())
    assert bool((reduced.pooled() * whole).sum(-1).min() > 0.95)


def test_testa_removes_three_quarters_and_keeps_the_map(tokens) -> None:
    reduced = aggregate.aggregate(tokens, T // 2, N // 2)
    assert reduced.share == 0.25
    assert_means(reduced, tokens)
    assert torch.equal(reduced.frames().sum(1), torch.full((B, T), float(N)))


def test_tempme_finds_clips_with_a_twentieth_of_the_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    texts = functional.normalize(torch.randn(16, D, generator=generator), dim=-1)
    clips = texts[:, None, None] + torch.randn(16, 10, N, D, generator=generator)
    reduced = aggregate.merge_clips(clips, 5, 8)
    assert reduced.share == 0.05

    def recall(vectors: Tensor) -> float:
        return (texts @ vectors.T).argmax(1).eq(torch.arange(16)).float().mean().item()

    whole = functional.normalize(clips.mean((1, 2)), dim=-1)
    assert recall(whole) > 0.9
    assert abs(recall(reduced.pooled()) - recall(whole)) <= 0.05
    assert torch.allclose(reduced.pooled(), whole, atol=1e-5)


class Captioner(nn.Module):
    """Writes the words that a small transformer finds likely after pictures and words so far."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, D)
        self.layer = TransformerLayer(D, 2)

    @torch.no_grad()
    def write(self, pictures: Tensor, ratio: float | None = None) -> list[int]:
        said, attention, read = [0], pictures.new_ones(1, pictures.shape[1]), []
        for _ in range(6):
            seen = pictures
            if ratio is not None:
                seen = base.gather(pictures, windows.attended(attention, ratio))
            read.append(seen.shape[1])
            x = self.layer(torch.cat([seen, self.words(torch.tensor([said]))], dim=1))
            attention = (pictures @ x[:, -1:].transpose(1, 2)).squeeze(-1).softmax(-1)
            said.append(int((x[0, -1] @ self.words.weight.T).argmax()))
        self.read = read
        return said


def test_dycoke_leaves_captions_as_they_are_at_ratio_zero(tokens) -> None:
    torch.manual_seed(0)
    captioner = Captioner().eval()
    clip = tokens[:1]
    reduced = windows.merge_windows(clip, 0.0)
    assert torch.equal(reduced.tokens, clip.flatten(1, 2))
    assert captioner.write(reduced.tokens, 0.0) == captioner.write(clip.flatten(1, 2))
    half = windows.merge_windows(tokens, 0.5)
    assert half.tokens.shape[1] == T * N - 2 * (3 * N // 2)
    assert_means(half, tokens)
    captioner.write(half.tokens[:1], 0.25)
    assert captioner.read == [60] * 6


def test_dycoke_drops_what_repeats_the_first_frame() -> None:
    still = torch.randn(1, 1, N, D).repeat(1, T, 1, 1)
    still[:, 1, 3] += 5
    index = windows.merge_windows(still, 47 / 48).index
    assert index is not None
    alone = [place for place in range(T * N) if (index[0] == index[0, place]).sum() == 1]
    assert N + 3 in alone


def test_storm_pools_time_and_caches_segments(tokens, tmp_path: Path) -> None:
    reduced = windows.pool_time(tokens, 4)
    assert torch.allclose(
        reduced.tokens, tokens.unflatten(1, (2, 4)).mean(2).flatten(1, 2), atol=1e-6
    )
    assert windows.pool_time(tokens, 3).tokens.shape[1] == 3 * N
    sampled = windows.pool_time(tokens, 2, every=2)
    assert torch.allclose(sampled.tokens[:, N:], tokens[:, 4:6].mean(1), atol=1e-6)
    assert sampled.index is not None
    assert bool((sampled.index[:, 2 * N : 4 * N] == -1).all())
    calls = []

    def pool(segment: Tensor) -> Reduced:
        calls.append(segment.shape[1])
        return windows.pool_time(segment, 4)

    parts = [list(base.by_segment(tokens, 4, pool, tmp_path, key="pool 4")) for _ in range(2)]
    assert calls == [4, 4]
    assert torch.equal(torch.cat([part.tokens for part in parts[1]], 1), reduced.tokens)
    list(base.by_segment(tokens, 4, pool, tmp_path, key="another"))
    assert len(calls) == 4


@pytest.mark.parametrize("reduction", [0.3, 0.7])
def test_framefusion_respects_the_reduction(tokens, worth, reduction: float) -> None:
    tokens[:, 1:4, :5] = tokens[:, :1, :5]
    reduced = fuse.fuse(tokens, worth, reduction)
    assert reduced.tokens.shape[1] == T * N - round(reduction * T * N)
    assert_means(reduced, tokens)
    assert reduced.weights.max() == 4


def test_framefusion_drops_the_least_important(worth) -> None:
    apart = torch.eye(T * N).unsqueeze(0).unflatten(1, (T, N))
    reduced = fuse.fuse(apart, worth[:1], 0.7)
    assert reduced.index is not None
    stays = reduced.index[0] >= 0
    assert worth[0][stays].min() > worth[0][~stays].max()


def test_prunevid_leaves_a_fifth_and_maps_back_to_frames(tokens, worth, tmp_path: Path) -> None:
    tokens[:, :, 1:] = tokens[:, :1, 1:]
    reduced = prune.prune(tokens, worth, 0.2)
    assert 0 < reduced.share <= 0.2
    back = Reduced.load(reduced.save(tmp_path / "clip.safetensors"))
    assert torch.equal(back.frames(), reduced.frames())
    assert torch.equal(back.tokens, reduced.tokens)
    assert bool(((reduced.frames() > 0).sum(-1) == T).any())
    assert_means(reduced, tokens)
    alone = prune.prune(tokens[1:], worth[1:], 0.2)
    assert torch.equal(alone.tokens, reduced.tokens[1:, : alone.tokens.shape[1]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (3, 7), (8, 16)])
def test_learning_free_token_reduction_gives_the_count_that_was_asked(shape) -> None:
    clip = torch.randn(B, *shape, D, generator=torch.Generator().manual_seed(0))
    for count in (1, 2, 5, 8, 64, 200):
        reduced = exact.merge_exactly(clip, count)
        assert reduced.tokens.shape == (B, count, D)
        assert torch.equal(reduced.tokens, exact.merge_exactly(clip, count).tokens)
        whole = functional.normalize(clip.mean((1, 2)), dim=-1)
        if shape[0] * shape[1] >= count:
            assert torch.allclose(reduced.pooled(), whole, atol=1e-4)
    assert exact.merge_exactly(clip.flatten(1, 2), 3).tokens.shape[1] == 3


def test_a_budget_is_kept_and_more_of_it_costs_more(tokens, worth) -> None:
    made = [budget.adapt(tokens, worth, share) for share in (0.05, 0.1, 0.25, 0.5, 1.0)]
    counts = [reduced.tokens.shape[1] for reduced in made]
    assert counts == sorted(counts) == [6, 13, 32, 64, 128]
    costs = [reduced.cost(D) for reduced in made]
    assert costs == sorted(costs)
    assert costs[-1] == 1


def test_visionzip_keeps_the_dominant_and_means_of_the_rest(tokens) -> None:
    attention = torch.rand(B, 2, 5, T * N, generator=torch.Generator().manual_seed(0))
    reduced = contextual.zip_tokens(tokens, attention, 20, 6)
    assert reduced.tokens.shape[1] == 26
    assert reduced.kept is not None
    best = attention.mean((1, 2)).topk(20).indices.sort(1).values
    assert torch.equal(reduced.kept[:, :20], best)
    assert bool((reduced.kept[:, 20:] == -1).all())
    assert_means(reduced, tokens)
    assert float(reduced.weights.sum()) == B * T * N


def test_sparsevlm_keeps_what_the_text_asks_for_layer_by_layer(tokens) -> None:
    thing = torch.zeros(D)
    thing[0] = 8.0
    tokens = 0.2 * tokens
    tokens[:, 2, 3:6] += thing
    text = torch.stack([thing, 0.1 * torch.ones(D)]).expand(B, -1, -1)
    budgets = [(60, 4), (20, 3), (3, 1)]
    layers = list(contextual.for_layers(tokens, text, budgets))
    assert [one.tokens.shape[1] for one in layers] == [64, 23, 4]
    last = layers[-1]
    assert last.kept is not None
    assert last.kept[0].tolist() == [2 * N + 3, 2 * N + 4, 2 * N + 5, -1]
    line = tokens.flatten(1, 2)
    assert torch.equal(last.tokens[:, :3], base.gather(line, last.kept[:, :3]))
    other = contextual.keep_for_text(tokens, -text, 3)
    assert not torch.equal(other.kept, last.kept[:, :3])


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_ppllava_pools_to_the_count_and_listens_to_the_prompt(tokens, frames: int) -> None:
    clip, prompt = tokens[:, :frames], torch.randn(B, D, generator=torch.Generator().manual_seed(3))
    reduced = prompted.pool_for(clip, prompt, (4, 2, 2))
    assert reduced.tokens.shape == (B, 16, D)
    other = prompted.pool_for(clip, -prompt, (4, 2, 2))
    assert not torch.allclose(reduced.weights, other.weights)
    near = functional.cosine_similarity(reduced.tokens, prompt[:, None], dim=-1)
    far = functional.cosine_similarity(other.tokens, prompt[:, None], dim=-1)
    assert bool((near > far).all())
    plain = prompted.pool_for(tokens, prompt, (1, 1, 1), sharpness=0)
    assert torch.allclose(plain.tokens[:, 0], tokens.mean((1, 2)), atol=1e-6)


def test_wrong_numbers_are_refused(tokens, worth) -> None:
    with pytest.raises(UsageError, match="129 of 128"):
        merge.merge_to(tokens, 129)
    with pytest.raises(InputError, match="saliency"):
        merge.merge_to(tokens, 4, worth[:, :5])
    with pytest.raises(UsageError, match="ratio"):
        windows.merge_windows(tokens, 1.5)
    with pytest.raises(UsageError, match="equal"):
        aggregate.merge_clips(tokens, 3, 4)
    with pytest.raises(InputError, match="shape"):
        merge.merge_to(torch.zeros(3, 4), 1)
