"""Decoding by denoising: seeds, steps, and the sampler itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.flow import TimeEmbedding, denoised, mixed
from zoo.registry import create, preset


def picture(side: int = 16, frames: int = 1) -> Tensor:
    return torch.rand(2, 3, frames, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_eps_vae_decodes_the_same_for_the_same_seed() -> None:
    torch.manual_seed(0)
    tokenizer = create("image/eps_vae_tiny")
    x = picture()
    tokens = tokenizer.encode(x)
    one, again, other = (tokenizer.decode(tokens, seed=seed) for seed in (3, 3, 4))
    assert one.shape == x.shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(tokenizer.decode(tokens), tokenizer.decode(tokens, seed=0))


def test_eps_vae_takes_as_many_steps_as_asked_for() -> None:
    torch.manual_seed(0)
    tokenizer = create("image/eps_vae_tiny")
    tokens = tokenizer.encode(picture())
    calls: list[float] = []
    tokenizer.decoder.register_forward_pre_hook(lambda _, given: calls.append(float(given[1][0])))
    tokenizer.decode(tokens.select(slice(0, 1)), steps=5)
    assert calls == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    calls.clear()
    tokenizer.decode(tokens.select(slice(0, 1)))
    assert len(calls) == preset("image/eps_vae_tiny").config.decoder_steps
    with pytest.raises(UsageError, match="steps"):
        tokenizer.decode(tokens, steps=-1)


def test_seeds_and_steps_do_not_touch_the_tokens() -> None:
    torch.manual_seed(0)
    tokenizer = create("image/eps_vae_tiny")
    x = picture()
    before = tokenizer.encode(x)
    tokenizer.decode(before, seed=9, steps=7)
    after = tokenizer.encode(x)
    assert torch.equal(before.ids, after.ids)
    assert before.spec_hash == after.spec_hash


def test_eps_vae_learns_to_use_its_latents() -> None:
    torch.manual_seed(0)
    tokenizer = create("image/eps_vae_tiny").train()
    ramp = torch.linspace(-1, 1, 16)
    x = torch.stack([ramp.expand(16, 16), ramp.view(16, 1).expand(16, 16)])
    x = x[:, None, None].expand(2, 3, 1, 16, 16).contiguous()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=3e-3, fused=True)
    for step in range(50):
        torch.manual_seed(step)
        loss = (tokenizer(x).output - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    back = tokenizer.decode(tokenizer.encode(x), seed=1)
    error = (back - x).square().mean(dim=(1, 2, 3, 4))
    swapped = (back.flip(0) - x).square().mean(dim=(1, 2, 3, 4))
    assert bool((error < 0.3 * swapped).all())


def test_the_sampler_ends_on_the_picture_that_is_named() -> None:
    target = picture()
    assert torch.equal(denoised(lambda x, time: target, target, seed=0, steps=4), target)
    seen: list[Tensor] = []

    def watch(x: Tensor, time: Tensor) -> Tensor:
        seen.append(x)
        return target

    denoised(watch, target, seed=0, steps=2)
    torch.testing.assert_close(seen[1], (seen[0] + target) / 2)


def test_mixtures_are_as_noisy_as_their_time_says() -> None:
    torch.manual_seed(0)
    x = torch.full((4000, 2), 5.0)
    noisy, time = mixed(x)
    noise = (noisy - (1 - time[:, None]) * x) / time[:, None]
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert 0 < float(time.min()) < 0.1
    assert float(time.mean()) == pytest.approx(2 / 3, abs=0.02)


def test_times_are_told_apart() -> None:
    torch.manual_seed(0)
    told = TimeEmbedding(16)(torch.tensor([0.0, 0.01, 0.5, 1.0])).detach()
    assert float(torch.pdist(told).min()) > 1e-3
