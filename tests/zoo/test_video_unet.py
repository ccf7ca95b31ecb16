"""U-Nets of clips: an image model that grows layers along time, and what each paper adds to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.cascade import Stage, rows, run
from zoo.errors import NotFoundError, UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Known, Space
from zoo.generators.video_unet import Config, VideoUnet, grown, packed, unpacked
from zoo.grammar import examples
from zoo.layers.diffusion import Process
from zoo.layers.unet import UnetConfig
from zoo.layers.unet_blocks import group_of
from zoo.registry import preset

TWO = Decoding(steps=2)


def config(name: str = "tiny", net: dict[str, Any] | None = None, **options: Any) -> Config:
    made: Config = preset(f"video/video_unet_{name}").config
    layers = {"temporal": ("conv", "full"), **(net or {})} if made.network.temporal else net or {}
    usual = {"process": Process("cosine", "v"), "adapts_frames": False}
    return replace(made, **{"network": replace(made.network, **layers), **usual, **options})


def built(made: Config) -> VideoUnet:
    torch.manual_seed(0)
    return VideoUnet(made).eval()


def awake(model: VideoUnet) -> VideoUnet:
    """The same with weights where layers along time, or adapters, are silent at the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if group_of(name) != "spatial" and not bool(parameter.any()):
                parameter.normal_(std=0.2)
    return model


def clip(model: VideoUnet, batch: int = 2, frames: int = 0) -> Tensor:
    return torch.randn(model.space.shape(batch, frames), generator=torch.Generator().manual_seed(3))


def learning(model: VideoUnet, batch: Batch) -> set[str]:
    """The groups of weights that a step would change."""
    model.loss(batch).backward()
    return {group_of(n) for n, p in model.named_parameters() if p.grad is not None}


def first_rows(x: Tensor) -> Tensor:
    return rows(x[:, :1])


def test_video_ldm_begins_as_its_image_model_and_trains_only_time() -> None:
    image = built(config(net={"temporal": ()}))
    model = grown(image, config(trains=("temporal",)))
    x, time = clip(model), torch.rand(2)
    alone = [image.predict(x[:, t : t + 1], time, Conditions()) for t in range(4)]
    assert torch.allclose(model.predict(x, time, Conditions()), torch.cat(alone, 1), atol=1e-5)
    assert learning(model, examples(model, 2, seed=0)[0]) == {"temporal"}
    changed = awake(model).predict(x, time, Conditions())
    assert not torch.allclose(changed, torch.cat(alone, 1), atol=1e-3)


def test_make_a_video_learns_pictures_with_text_and_then_clips_without() -> None:
    model = built(config())
    pictures, _ = examples(model, 2, seed=0)
    pictures = Batch(pictures.x, pictures.conditions, torch.tensor([1, 1]))
    image = built(config(net={"temporal": ()}))
    one = clip(model, frames=1)
    time = torch.rand(2)
    same = grown(image, config())
    made, alone = (net.predict(one, time, Conditions()) for net in (same, image))
    assert torch.allclose(made, alone, atol=1e-5)
    clips = Batch(pictures.x, pictures.conditions.none())
    for batch in (pictures, clips):
        assert bool(torch.isfinite(model.loss(batch)))


def test_vdm_learns_pictures_beside_clips() -> None:
    model = awake(built(config("tiny", known=0.0)))
    x, time = clip(model), torch.tensor([0.4, 0.6])
    lengths = torch.tensor([4, 1])
    other = x.clone()
    other[1, 1:] = 9.0
    one, two = (model.predict(v, time, Conditions(), lengths) for v in (x, other))
    assert torch.allclose(one[1, :1], two[1, :1], atol=1e-5)
    alone = model.predict(x[1:, :1], time[1:], Conditions())
    assert torch.allclose(alone, one[1:, :1], atol=1e-5)
    assert bool(torch.isfinite(model.loss(Batch(x, Conditions(), lengths))))


def test_vdm_extends_a_clip_by_reconstruction_guidance() -> None:
    made = {pull: awake(built(config(known=0.0, pull=pull))) for pull in (0.0, 4.0)}
    x = clip(made[0.0], 1)
    mask = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    mask[:, :2] = True
    plain, drawn = (
        model.sample(1, decoding=Decoding(steps=4), seed=2, known=Known(x, mask)).x
        for model in made.values()
    )
    assert torch.equal(drawn[:, :2], x[:, :2])
    assert bool(torch.isfinite(drawn).all())
    assert not torch.allclose(plain[:, 2:], drawn[:, 2:])


def test_magicvideo_sees_nothing_that_comes_later() -> None:
    model = awake(built(config(net={"directed": True}, adapts_frames=True, known=0.0)))
    x = clip(model, 1).requires_grad_()
    model.predict(x, torch.rand(1), Conditions())[:, 1].sum().backward()
    assert x.grad is not None
    assert float(x.grad[:, 0].abs().sum()) > 0
    assert float(x.grad[:, 2:].abs().sum()) == 0
    still = clip(model, 1)[:, :1].expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        each = built(config(net={"temporal": ()}, adapts_frames=True, known=0.0))
        frames = awake(each).predict(still, torch.tensor([0.5]), Conditions())
    assert not torch.allclose(frames[:, 0], frames[:, 1])
    with pytest.raises(UsageError, match="merged"):
        built(config(net={"directed": True, "halve_time": (0,)}))


def test_seine_fills_between_its_ends() -> None:
    model = awake(built(config()))
    x = clip(model, 1)
    mask = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    mask[:, [0, -1]] = True
    made, other = (
        model.sample(1, decoding=TWO, known=Known(value, mask)).x for value in (x, x + 1)
    )
    assert torch.equal(made[:, [0, -1]], x[:, [0, -1]])
    assert not torch.allclose(made[:, 1:3], other[:, 1:3])


def test_exvideo_trains_new_weights_for_five_times_the_frames() -> None:
    base = awake(built(config()))
    space = replace(base.space, grid=(20, 2, 2))
    model = grown(base, config(net={"extended": True}, space=space, trains=("extension",)))
    x, time = clip(base), torch.rand(2)
    assert torch.allclose(
        model.predict(x, time, Conditions()), base.predict(x, time, Conditions()), atol=1e-5
    )
    assert learning(model, examples(model, 2, seed=0)[0]) == {"extension"}
    assert model.sample(1, decoding=TWO).x.shape == (1, 20, 2, 2, 3)


def test_harivo_leaves_the_image_model_frozen() -> None:
    image = built(config(net={"temporal": ()}, known=0.0))
    space = Space("video", (16, 2, 2), channels=3)
    added = config(space=space, frame_tokens=2, maps_noise=True, known=0.0, trains=("temporal",))
    model = grown(image, added)
    assert learning(model, examples(model, 2, seed=0)[0]) == {"temporal"}
    x, time = clip(model, 1), torch.rand(1)
    before = model.predict(x, time, Conditions())
    awake(model)
    assert not torch.allclose(before, model.predict(x, time, Conditions()))
    assert model.sample(1, decoding=TWO).x.shape[1] == 16
    for name, value in image.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_fancyvideo_reads_a_text_for_each_frame() -> None:
    asks = (Condition("frame_text", "track", 8),)
    model = built(config(conditions=asks))
    x = clip(model, 1)[:, :1].expand(-1, 4, -1, -1, -1)
    texts, time = torch.randn(1, 4, 8), torch.tensor([0.5])
    order = [2, 0, 3, 1]
    one, other = (
        model.predict(x, time, model.given(frame_text=t)) for t in (texts, texts[:, order])
    )
    assert not torch.allclose(one, other)
    assert torch.allclose(one[:, order], other, atol=1e-5)


def test_i2v_adapter_is_silent_at_first_and_learns_alone() -> None:
    base = awake(built(config()))
    model = grown(base, config(net={"adapter": True}, trains=("adapter",)))
    x, time = clip(model), torch.rand(2)
    before = model.predict(x, time, Conditions())
    assert torch.allclose(before, base.predict(x, time, Conditions()), atol=1e-5)
    assert learning(model, examples(model, 2, seed=0)[0]) == {"adapter"}
    per_frame = built(config(net={"adapter": True, "temporal": ()}))
    other = x.clone()
    other[:, 0] += 1
    one, two = (awake(per_frame).predict(v, time, Conditions()) for v in (x, other))
    assert not torch.allclose(one[:, 1:], two[:, 1:])


def test_videocrafter2_tunes_pictures_and_leaves_time_as_it_is() -> None:
    model = awake(built(config(trains=("spatial",))))
    before = {n: p.clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    batch, _ = examples(model, 2, seed=0)
    model.loss(Batch(batch.x[:, :1], batch.conditions)).backward()
    optimiser.step()
    changed = {group_of(n) for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"spatial"}


def test_grid_diffusion_packs_a_clip_into_one_picture_of_fixed_cost() -> None:
    x = torch.randn(2, 4, 2, 6, 3)
    picture = packed(x, (2, 2))
    assert picture.shape == (2, 1, 4, 12, 3)
    assert torch.equal(picture[:, 0, :2, 6:], x[:, 1])
    assert torch.equal(unpacked(picture, (2, 2)), x)
    assert torch.equal(unpacked(packed(x[:, :3], (2, 2)), (2, 2))[:, :3], x[:, :3])

    def kept(frames: int, side: int, tiles: int) -> int:
        """Bytes kept for the backward pass."""
        space = Space("video", (frames, side, side), channels=3)
        model, sizes = built(config("tiled_tiny", space=space, tiled=(tiles, tiles))), []

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.predict(clip(model, 1), torch.rand(1), Conditions())
        return sum(sizes)

    assert kept(16, 2, 4) == pytest.approx(kept(4, 4, 2), rel=0.01)
    with pytest.raises(UsageError, match="do not fit"):
        built(config("tiled_tiny", tiled=(1, 2)))


@pytest.mark.parametrize("serves", ["univg", "videocrafter1"])
def test_univg_and_videocrafter1_take_text_or_picture_or_both(serves: str) -> None:
    model = built(config("picture_tiny", pictures=("read",), prior=0.0))
    image = torch.randn(1, 4, 3)
    text, picture = {"text": ["it leaps"]}, {"image": image}
    made = [
        model.sample(1, model.given(**asked), TWO, seed=1).x
        for asked in (text, picture, {**text, **picture})
    ]
    assert all(bool(torch.isfinite(x).all()) for x in made)
    assert not torch.allclose(made[0], made[2])
    assert not torch.allclose(made[1], made[2])
    beside = built(config("picture_tiny"))
    wrong = beside.given(image=torch.randn(1, 3, 3))
    with pytest.raises(UsageError, match="places"):
        beside.sample(1, wrong, TWO)
    assert serves in {
        s
        for p in ("univg.base", "videocrafter1.i2v")
        for s in preset(f"video/video_unet_{p}").serves
    }


def test_trip_without_its_residual_is_a_still() -> None:
    model = built(config("picture_tiny", prior=1.0))
    image = clip(model, 1)[:, :1]
    given = model.given(image=first_rows(image))
    moving = model.sample(1, given, Decoding(steps=4)).x
    model.residual_scale = 0.0
    still = model.sample(1, given, Decoding(steps=4)).x
    assert torch.allclose(still, image.expand_as(still), atol=1e-3)
    assert not torch.allclose(moving, still, atol=1e-2)


def test_moonshot_weighs_its_picture_and_takes_residuals() -> None:
    asks = (
        Condition("text", "words"),
        Condition("image", "embeddings", 3),
        Condition("control", "embeddings", 2),
    )
    model = built(config("picture_tiny", conditions=asks, pictures=("read",), prior=0.0))
    x, time = clip(model, 1), torch.tensor([0.5])
    text = model.given(text=["it waits"])
    both = model.given(text=["it waits"], image=torch.randn(1, 4, 3))
    assert not torch.allclose(model.predict(x, time, text), model.predict(x, time, both))
    model.picture_scale = 0.0
    assert torch.equal(model.predict(x, time, text), model.predict(x, time, both))
    guided = model.given(text=["it waits"], control=torch.randn(1, 16, 2))
    assert torch.equal(model.predict(x, time, text), model.predict(x, time, guided))
    awake(model)
    assert not torch.allclose(model.predict(x, time, text), model.predict(x, time, guided))


def test_dreamvideo_keeps_its_first_frame() -> None:
    """Overfitted on clips with their first frame and caption, frame 0 is the frame given."""
    net = UnetConfig(dim=16, widths=(1,), attend=(0,), temporal=("conv",))
    model = built(config("picture_tiny", network=net, prior=0.0))
    model.config = replace(model.config, drop=0.0)
    batch, _ = examples(model, 16, seed=0)
    given = {**batch.conditions.values, "image": first_rows(batch.x)}
    batch = Batch(batch.x, Conditions(given))
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3)
    for step in range(160):
        torch.manual_seed(step)
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    made = model.sample(16, batch.conditions, seed=1).x
    error = float((made[:, 0] - batch.x[:, 0]).square().mean())
    span = float(batch.x.max() - batch.x.min())
    assert 10 * torch.log10(torch.tensor(span**2 / error)) > 20


def test_lumiere_halves_time_and_gives_all_frames_back() -> None:
    model = awake(built(config("enlarging_tiny", enlarges=(), conditions=())))
    seen: list[int] = []
    for level in model.network.down.levels:
        level[0].register_forward_hook(lambda _, given, __: seen.append(given[1].frames))
    assert model.sample(1, decoding=Decoding(steps=1), frames=4).x.shape == (1, 4, 2, 2, 3)
    assert seen == [4, 2]


@pytest.mark.parametrize(
    ("enlarges", "small"), [((2, 1, 1), (2, 2, 2)), ((1, 2, 2), (4, 1, 1)), ((2, 2, 2), (2, 1, 1))]
)
def test_imagen_video_reads_what_it_enlarges(
    enlarges: tuple[int, ...], small: tuple[int, ...]
) -> None:
    model = built(config("enlarging_tiny", enlarges=enlarges))
    low = torch.randn(1, *small, 3)
    made, other = (model.sample(1, model.given(low=rows(value)), TWO).x for value in (low, low + 1))
    assert made.shape[1:4] == tuple(n * f for n, f in zip(small, enlarges, strict=True))
    assert not torch.allclose(made, other)
    assert bool(torch.isfinite(model.loss(Batch(made, model.given(low=rows(low))))))
    assert model.process.target == "v"


def test_imagen_video_chains_base_time_and_space() -> None:
    base = built(config(space=Space("video", (2, 2, 2), channels=3)))
    time = built(config("enlarging_tiny", enlarges=(2, 1, 1)))
    wide = Space("video", (4, 4, 4), channels=3)
    space = built(config("enlarging_tiny", enlarges=(1, 2, 2), space=wide))
    stages = [
        Stage("base", base),
        Stage("time", time, {"low": "base"}),
        Stage("space", space, {"low": "time"}),
    ]
    made = run(stages, {"text": ["it rises"]}, decoding=TWO)
    assert [tuple(x.shape[1:4]) for x in made.values()] == [(2, 2, 2), (4, 2, 2), (4, 4, 4)]


def test_emu_video_keeps_its_first_picture(tmp_path: Path) -> None:
    painter, animator = built(config()), built(config("picture_tiny"))
    stages = [Stage("picture", painter, frames=1), Stage("clip", animator, {"image": "picture"})]
    asked = {"text": ["it falls slowly"]}
    made = run(stages, asked, folder=tmp_path, decoding=TWO)
    assert made["picture"].shape == (1, 1, 2, 2, 3)
    assert made["clip"].shape == (1, 4, 2, 2, 3)
    (tmp_path / "clip.safetensors").unlink()
    again = run(stages, asked, folder=tmp_path, seed=5, decoding=TWO)
    assert torch.equal(again["picture"], made["picture"])
    assert not torch.equal(again["clip"], made["clip"])
    same = animator.given(text=["it falls slowly"], image=first_rows(made["picture"]))
    assert torch.equal(animator.sample(1, same, TWO).x, made["clip"])


def test_magicvideo_v2_runs_each_stage_from_what_is_stored(tmp_path: Path) -> None:
    between = built(config(space=Space("video", (7, 2, 2), channels=3)))
    stages = [
        Stage("picture", built(config()), frames=1),
        Stage("clip", built(config("picture_tiny")), {"image": "picture"}),
        Stage("between", between, {"known": "clip"}),
    ]
    asked = {"text": ["it rises"]}
    with pytest.raises(NotFoundError, match="'clip'"):
        run(stages[2:], asked, folder=tmp_path, decoding=TWO)
    for stage in stages:
        (made,) = run([stage], asked, folder=tmp_path, decoding=TWO).values()
    assert made.shape[1] == 7
    stored = run(stages, asked, folder=tmp_path, decoding=TWO)
    assert torch.equal(stored["between"], made)
    assert torch.equal(made[:, ::2], stored["clip"])


def test_grids_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be halved"):
        built(config(space=Space("video", (4, 3, 2), channels=3)))
    with pytest.raises(UsageError, match="no temporal layer is called 'sideways'"):
        built(config(net={"temporal": ("sideways",)}))
