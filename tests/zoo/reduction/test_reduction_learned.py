"""Learned reductions: counts, gradients, and what a few seconds of training change."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from catalogs.testing.records import record_clips
from curation.search import Searcher
from zoo.errors import UsageError
from zoo.reduction import Reduced, base, bottleneck, compress, encoder, pool, sampler

B, T, N, D = 2, 4, 16, 12


@pytest.fixture
def tokens() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(B, T, N, D)


def test_tokenlearner_gives_eight_tokens_a_frame_inside_an_encoder(tokens) -> None:
    stem, learned = nn.Linear(D, D), pool.LearnedPool(D)
    reduced = learned(stem(tokens))
    assert reduced.tokens.shape == (B, T * 8, D)
    alone = learned(stem(tokens[:, 1:2]))
    assert torch.allclose(alone.tokens, reduced.tokens[:, 8:16], atol=1e-6)
    reduced.tokens.square().sum().backward()
    for part in (stem, learned):
        assert all(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


def test_lookupvit_works_on_as_many_tokens_as_it_is_told_to(tokens) -> None:
    model = bottleneck.LookupEncoder(D, 2, 2)
    heavy = []
    model.blocks[0].works.register_forward_hook(lambda *call: heavy.append(call[2].shape[1]))
    for count in (4, 9, T * N):
        few, grid = model.both(tokens, count)
        assert few.tokens.shape == (B, count, D)
        assert grid.shape == tokens.shape
        assert not torch.allclose(grid, tokens)
    assert heavy == [4, 9, T * N]
    changed = tokens.clone()
    changed[:, -1, -1] += 1
    assert not torch.equal(model(changed, 4).tokens, model(tokens, 4).tokens)


def test_voco_llama_condenses_frames_to_the_count_and_caches_them(tokens, tmp_path: Path) -> None:
    model = compress.Condenser(D, 2).eval()
    calls = []

    @torch.no_grad()
    def condense(frame: Tensor) -> Reduced:
        calls.append(1)
        return model(frame, 3)

    runs = [list(base.by_segment(tokens, 1, condense, tmp_path, key="voco")) for _ in range(2)]
    assert len(calls) == T
    joined = torch.cat([frame.tokens for frame in runs[1]], dim=1)
    assert torch.allclose(joined, model(tokens, 3).tokens, atol=1e-5)
    for count in (1, 2, 8):
        assert model(tokens, count).tokens.shape == (B, T * count, D)
    fewer, more = model(tokens, 2).tokens, model(tokens, 8).tokens
    assert torch.allclose(fewer[:, :2], more[:, :2], atol=1e-5)
    with pytest.raises(UsageError, match="9 of 8"):
        model(tokens, 9)


def test_pvc_tells_repeated_frames_once_and_takes_images_as_clips() -> None:
    model = compress.Progressive(D)
    first, other = torch.randn(2, 1, 1, 100, D)
    clip = torch.cat([first, first, other, other], dim=1)
    reduced = model(clip)
    assert reduced.tokens.shape == (1, 4 * 64, D)
    told = reduced.weights.unflatten(1, (4, 64)).sum(-1)[0]
    assert told[[1, 3]].max() < 1e-4 * told[[0, 2]].min()
    image = model(first[:, 0])
    assert torch.equal(image.tokens, model(first.expand(-1, 4, -1, -1)).tokens)
    assert model(clip[:, :, :10]).tokens.shape[1] == 4 * 10
    with pytest.raises(UsageError, match="1 to 64"):
        compress.Progressive(D, count=65)


def moving_squares(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips of a textured, still background where one place of each frame is brighter."""
    film = torch.rand(count, 1, N, D, generator=generator).repeat(1, T, 1, 1)
    start = torch.randint(N, (count, 1), generator=generator)
    place = (start + torch.arange(T)) % N
    square = torch.nn.functional.one_hot(place, N).bool()
    return film + 2 * square.unsqueeze(-1), square.flatten(1)


@pytest.fixture(scope="module")
def masking() -> sampler.AdaptiveMasking:
    """A sampler after a second or two."""
    torch.manual_seed(0)
    model = sampler.AdaptiveMasking(D, T * N)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        model(moving_squares(16, generator)[0], generator).backward()
        optimizer.step()
    return model.eval()


def test_adamae_is_denser_where_something_moves(masking) -> None:
    clips, square = moving_squares(32, torch.Generator().manual_seed(7))
    with torch.no_grad():
        density = masking.sampler.density(clips)
    assert torch.allclose(density.sum(1), torch.ones(32))
    assert density[square].mean() > 3 * density[~square].mean()
    shown = masking.sample(clips, torch.Generator().manual_seed(0))
    assert shown.tokens.shape[1] == round(0.05 * T * N)


def test_s5_keeps_the_ratio_of_informative_tokens_and_stores_them(masking, tmp_path: Path) -> None:
    clips, square = moving_squares(8, torch.Generator().manual_seed(8))
    with torch.no_grad():
        reduced = masking.sampler(clips, 0.125)
    assert reduced.share == 0.125
    assert reduced.kept is not None
    assert square.gather(1, reduced.kept).float().sum(1).mean() > 0.9 * T
    back = Reduced.load(reduced.save(tmp_path / "clips.safetensors"))
    assert torch.equal(back.tokens, base.gather(clips.flatten(1, 2), back.kept))


def multiplications(model: nn.Module, frames: int) -> int:
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.ones(1, frames, 4, 16))
    return counter.get_total_flops()


def test_video_mamba_suite_embeds_long_clips_at_linear_cost_as_a_column(tmp_path: Path) -> None:
    torch.manual_seed(0)
    linear, square = (
        encoder.ClipEncoder(16, 2, 2, mixers=(name,)).eval() for name in ("ssm", "full")
    )
    growth = [
        multiplications(model, 256) / multiplications(model, 64) for model in (linear, square)
    ]
    assert growth[0] == pytest.approx(4, rel=0.1)
    assert growth[1] > 6
    clips = torch.randn(3, 32, 4, 16)
    with torch.no_grad():
        vectors = [model(clips) for model in (linear, square)]
    assert [vector.shape for vector in vectors] == [(3, 16)] * 2
    assert torch.allclose(vectors[0].norm(dim=-1), torch.ones(3), atol=1e-5)
    ids = ["c0", "c1", "c2"]
    rows = [{"clip_id": name, "uri": name, "start_s": 0.0, "end_s": 1.0} for name in ids]
    catalog = record_clips(tmp_path / "corpus", rows)
    columns = {"clip_id": ids, "model_version": ["1"] * 3, "vector": list(vectors[0].numpy())}
    catalog.append("embeddings/ssm", pa.table(columns))
    with Searcher(catalog) as searcher:
        for name, vector in zip(ids, vectors[0].numpy(), strict=True):
            assert searcher.nearest("ssm", vector, 1)[0][0] == name
