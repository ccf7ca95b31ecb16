"""Motion from noise: parts that are hidden or missing, sources, paired clips, long sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from zoo.errors import UsageError
from zoo.generator import Batch, Conditions, Decoding, Space
from zoo.generators.motion_diffusion import MotionDiffusion, humanml_parts
from zoo.grammar import asked, examples
from zoo.registry import preset

QUICK = Decoding(steps=2)


def built(name: str, **options: Any) -> MotionDiffusion:
    torch.manual_seed(0)
    model = MotionDiffusion(replace(preset(f"motion/motion_diffusion_{name}").config, **options))
    torch.nn.init.normal_(model.network.leave.weight, std=0.1)
    for block in model.network.backbone.blocks:
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    return model.eval()


def test_mmdm_hides_frames_and_parts_in_training_and_makes_263_features() -> None:
    model = built("tiny", hidden_frames=0.5, hidden_parts=0.3)
    batch, _ = examples(model, 64, seed=0)
    torch.manual_seed(0)
    shown = model.shown(batch)
    assert 0.4 < float(shown.amax(-1).mean()) < 0.6
    assert 0.6 < float(shown.amax(1).mean()) < 0.8
    assert bool(torch.isfinite(model.loss(batch)))
    config = preset("motion/motion_diffusion_mmdm.humanml3d").config
    small = replace(preset("motion/motion_diffusion_tiny").config.backbone, depth=1)
    wide = MotionDiffusion(
        replace(config, space=Space("motion", (16,), channels=263), backbone=small)
    )
    made = wide.sample(1, decoding=QUICK).x
    assert made.shape == (1, 16, 263)
    assert bool(torch.isfinite(made).all())


def test_every_feature_belongs_to_a_part_of_the_body() -> None:
    parts = humanml_parts()
    assert len(parts) == 263
    assert set(parts) == set(range(5))
    assert [parts.count(part) for part in (1, 3)] == [4 * 12 + 2, 4 * 12]


def test_lmm_masks_missing_parts_and_never_learns_them() -> None:
    """Whatever stands in a missing part, the loss is the same; a part of zeros is not missing."""
    model = built("tiny", hidden_frames=0.0, hidden_parts=0.0, known=0.0)
    batch, _ = examples(model, 4, seed=0)
    lacks = {**batch.conditions.values, "present": torch.tensor([[1.0, 0.0, 1.0]] * 4)}
    asks = replace(batch.conditions, values=lacks)

    def loss(x: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        torch.manual_seed(3)
        return model.total(model.losses(Batch(x, conditions)))

    other = batch.x.clone()
    other[..., 2:4] = 0.0
    assert torch.allclose(loss(batch.x, asks), loss(other, asks))
    assert not torch.allclose(loss(batch.x, batch.conditions), loss(other, batch.conditions))
    assert not torch.allclose(loss(other, asks), loss(other, batch.conditions))


def test_lmm_takes_rows_of_any_rate() -> None:
    config = preset("motion/motion_diffusion_lmm.humanml3d").config
    model = built("tiny", conditions=(*built("tiny").config.conditions, config.conditions[-1]))
    batch, _ = examples(model, 2, seed=0)
    rates = {**batch.conditions.values, **model.given(rate=[[20.0], [30.0]]).values}
    mixed = Batch(batch.x, Conditions(rates), torch.tensor([12, 8]))
    assert bool(torch.isfinite(model.loss(mixed)))
    slow, fast = (model.sample(1, model.given(rate=[[r]]), QUICK).x for r in (20.0, 30.0))
    assert not torch.allclose(slow, fast)


def test_motionlab_turns_a_source_into_a_target() -> None:
    model = built("flow_tiny")
    source = torch.randn(1, 12, 6)
    makes = [
        model.sample(1, model.given(source=x, text=["it leaps"]), QUICK).x
        for x in (source, source + 1)
    ]
    assert not torch.allclose(*makes)
    batch, _ = examples(model, 4, seed=0)
    triplet = Batch(batch.x, model.given(source=batch.x.flip(1), text=["mirror it"] * 4))
    assert bool(torch.isfinite(model.loss(triplet)))
    assert model.process.path == model.process.target == "flow"


def test_motionduet_samples_with_either_condition_dropped() -> None:
    model = built("flow_tiny")
    clip, text = torch.randn(1, 8), ["it waits"]
    both = model.given(text=text, clip=clip)
    makes = [
        model.sample(1, given, QUICK).x
        for given in (both, both.without("clip"), both.without("text"), both.none())
    ]
    assert all(bool(torch.isfinite(x).all()) for x in makes)
    assert not torch.allclose(makes[0], makes[1])
    assert not torch.allclose(makes[0], makes[2])
    assert torch.equal(makes[1], model.sample(1, model.given(text=text), QUICK).x)


def test_motion_mamba_runs_over_a_thousand_frames() -> None:
    model = built("ssm_tiny", space=Space("motion", (1024,), channels=6))
    made = model.sample(1, model.given(text=["it rises"]), Decoding(steps=1)).x
    assert made.shape == (1, 1024, 6)
    assert torch.isfinite(model.sample(1, decoding=Decoding(steps=1)).x).all()


def test_kmm_hides_crowded_frames_first() -> None:
    model = built("ssm_tiny", hidden_frames=0.3)
    x = torch.zeros(1, 12, 6)
    x[:, 6:] = torch.randn(1, 6, 6) * 4
    shares = model.frame_shares(x)[0]
    assert float(shares.mean()) == pytest.approx(0.3)
    assert float(shares[:6].min()) > float(shares[6:].max())


def test_features_are_normalised_inside_alone() -> None:
    model = built("tiny", known=0.0)
    plain = model.sample(2, seed=1, decoding=QUICK).x
    model.normalizer.mean.fill_(5.0)
    model.normalizer.deviation.fill_(2.0)
    assert torch.allclose(model.sample(2, seed=1, decoding=QUICK).x, plain * 2 + 5, atol=1e-4)


def test_padding_does_not_matter() -> None:
    model = built("tiny")
    batch, motifs = examples(model, 2, seed=0)
    lengths, time = torch.tensor([5, 12]), torch.tensor([0.4, 0.6])
    other = batch.x.clone()
    other[0, 5:] = 9.0
    given = model.given(**asked(model, motifs))
    one, two = (model.predict(x, time, given, lengths) for x in (batch.x, other))
    assert torch.allclose(one[0, :5], two[0, :5], atol=1e-5)
    assert torch.allclose(one[1], two[1])


def test_parts_are_told_for_all_features() -> None:
    with pytest.raises(UsageError, match="all or none"):
        built("tiny", parts=(0, 1))
