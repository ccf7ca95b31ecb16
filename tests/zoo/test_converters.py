"""Converted checkpoints give the ids of the published architectures.

The architectures are written here a second time, from what is known of them and with the names of
their weights, as functions of weights that are drawn when they are first asked for.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from zoo.adapters.convert import convert
from zoo.artefact import load
from zoo.errors import InputError, NotFoundError, UnsafeFileError, UsageError, ZooError
from zoo.spec import TokenizerSpec


class Weights(dict[str, Tensor]):
    """Weights of a published model by their names, random until they were asked for once."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = torch.Generator().manual_seed(0)

    def draw(self, name: str, *shape: int, scale: float = 1.0) -> Tensor:
        if name not in self:
            self[name] = torch.randn(shape, generator=self.dice) * scale
        return self[name]

    def conv(self, name: str, channels: int, out: int, *kernel: int) -> tuple[Tensor, Tensor]:
        spread = (channels * int(np.prod(kernel))) ** -0.5
        weight = self.draw(f"{name}.weight", out, channels, *kernel, scale=1.5 * spread)
        return weight, self.draw(f"{name}.bias", out, scale=0.1)


# T2M-GPT and MoMask

FEATURES, WIDTH, DIM, CODES = 263, 24, 16, 32


def conv1d(
    w: Weights, name: str, x: Tensor, out: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> Tensor:
    weight, bias = w.conv(name, x.shape[1], out, kernel)
    padding = dilation * (kernel - 1) // 2 if stride == 1 else stride // 2
    return functional.conv1d(x, weight, bias, stride, padding, dilation)


def residual_stack(w: Weights, name: str, x: Tensor) -> Tensor:
    for block, dilation in enumerate((9, 3, 1)):
        y = conv1d(w, f"{name}.model.{block}.conv1", x.relu(), WIDTH, 3, 1, dilation)
        x = x + conv1d(w, f"{name}.model.{block}.conv2", y.relu(), WIDTH, 1)
    return x


def motion_encoder(w: Weights, x: Tensor) -> Tensor:
    x = conv1d(w, "encoder.model.0", x.transpose(1, 2), WIDTH).relu()
    for stage in (2, 3):
        x = conv1d(w, f"encoder.model.{stage}.0", x, WIDTH, 4, 2)
        x = residual_stack(w, f"encoder.model.{stage}.1", x)
    return conv1d(w, "encoder.model.4", x, DIM).transpose(1, 2)


def motion_decoder(w: Weights, z: Tensor) -> Tensor:
    x = conv1d(w, "decoder.model.0", z.transpose(1, 2), WIDTH).relu()
    for stage in (2, 3):
        x = residual_stack(w, f"decoder.model.{stage}.0", x)
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = conv1d(w, f"decoder.model.{stage}.2", x, WIDTH)
    x = conv1d(w, "decoder.model.4", x, WIDTH).relu()
    return conv1d(w, "decoder.model.6", x, FEATURES).transpose(1, 2)


def residual_codes(w: Weights, z: Tensor, tables: Sequence[str]) -> tuple[Tensor, Tensor]:
    ids, total = [], torch.zeros_like(z)
    for table in tables:
        codes = w.draw(table, CODES, DIM, scale=float((z - total).std()))
        ids.append(torch.cdist(z - total, codes[None]).argmin(-1))
        total = total + codes[ids[-1]]
    return torch.stack(ids, dim=-1), total


@pytest.fixture
def statistics(tmp_path: Path) -> tuple[Path, Path]:
    dice = np.random.default_rng(0)
    files = tmp_path / "Mean.npy", tmp_path / "Std.npy"
    np.save(files[0], dice.normal(size=FEATURES).astype(np.float32))
    np.save(files[1], dice.uniform(0.5, 2.0, size=FEATURES).astype(np.float32))
    return files


@pytest.mark.parametrize("layout", ["t2m-gpt", "momask"])
def test_motion_ids_are_those_of_the_published_model(
    layout: str, tmp_path: Path, statistics: tuple[Path, Path]
) -> None:
    tables = (
        ["quantizer.codebook"]
        if layout == "t2m-gpt"
        else [f"quantizer.layers.{level}.codebook" for level in range(6)]
    )
    w, x = Weights(), torch.randn(2, 64, FEATURES, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.from_numpy(np.load(file)) for file in statistics)
    ids, values = residual_codes(w, motion_encoder(w, (x - mean) / deviation), tables)
    made = motion_decoder(w, values) * deviation + mean

    path = tmp_path / ("net_last.pth" if layout == "t2m-gpt" else "net_best_fid.tar")
    torch.save(_motion_checkpoint(layout, w), path)
    model = convert(layout, path, statistics=statistics)
    tokens = model.encode(x)
    assert torch.equal(tokens.ids, ids.squeeze(-1))
    assert ids.unique().numel() > 4
    assert float((model.decode(tokens) - made).abs().max()) < 1e-4 * float(made.abs().max())
    assert model.spec.fps == 20.0

    model.save(tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").encode(x).ids, ids.squeeze(-1))


def _motion_checkpoint(layout: str, w: Weights) -> dict[str, object]:
    """As their trainers save it, optimizer and schedule included."""
    if layout == "t2m-gpt":
        return {"net": {f"vqvae.{name}": value for name, value in w.items()}}
    schedule = {"milestones": collections.Counter([150000, 250000]), "gamma": 0.1}
    return {"vq_model": dict(w), "opt_vq_model": {"state": {}}, "scheduler": schedule, "ep": 3}


def test_statistics_must_fit_the_features(tmp_path: Path, statistics: tuple[Path, Path]) -> None:
    w = Weights()
    residual_codes(w, motion_encoder(w, torch.zeros(1, 8, FEATURES)), ["quantizer.codebook"])
    motion_decoder(w, torch.zeros(1, 2, DIM))
    path = tmp_path / "net_last.pth"
    torch.save({"net": dict(w)}, path)
    np.save(statistics[1], np.ones(251, dtype=np.float32))
    with pytest.raises(InputError, match=r"\(251,\)"):
        convert("t2m-gpt", path, statistics=statistics)
    assert convert("t2m-gpt", path, statistics=None).spec.channels == FEATURES


# VidTok

SMALL = {
    "double_z": False,
    "z_channels": 4,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 16,
    "ch_mult": [1, 2, 2],
    "time_downsample_factor": 4,
    "num_res_blocks": 1,
    "norm_type": "layernorm",
}


class VidTok:
    """Causal VidTok as published: `old` is 1.0, with zeros in front and nearest frames."""

    def __init__(self, w: Weights, *, old: bool):
        self.w, self.old = w, old

    def conv(self, name: str, x: Tensor, out: int, kernel: int = 3, stride: int = 1) -> Tensor:
        """Over time and space, seeing earlier frames only."""
        weight, bias = self.w.conv(f"{name}.conv", x.shape[1], out, *[kernel] * 3)
        x = self.front(x, kernel - stride)
        x = functional.pad(x, (kernel // 2,) * 4)
        return functional.conv3d(x, weight, bias, (stride, 1, 1))

    def line(self, name: str, x: Tensor, out: int) -> Tensor:
        """Over time only."""
        weight, bias = self.w.conv(f"{name}.conv", x.shape[1], out, 3)
        return functional.conv3d(self.front(x, 2), weight[..., None, None], bias)

    def flat(self, name: str, x: Tensor, out: int, kernel: int = 3, stride: int = 1) -> Tensor:
        """Over space only."""
        weight, bias = self.w.conv(name, x.shape[1], out, kernel, kernel)
        if stride == 2:
            x = functional.pad(x, (0, 1, 0, 1))
        padding = (0, kernel // 2, kernel // 2) if stride == 1 else 0
        return functional.conv3d(x, weight[:, :, None], bias, (1, stride, stride), padding)

    def front(self, x: Tensor, frames: int) -> Tensor:
        before = x[:, :, :1].expand(-1, -1, frames, -1, -1)
        return torch.cat([torch.zeros_like(before) if self.old else before, x], dim=2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        width = x.shape[1]
        weight = self.w.draw(f"{name}.norm.weight", width)
        bias = self.w.draw(f"{name}.norm.bias", width, scale=0.1)
        return functional.layer_norm(x.movedim(1, -1), (width,), weight, bias, 1e-6).movedim(-1, 1)

    def block(self, name: str, x: Tensor, out: int, kind: str) -> Tensor:
        conv = {"2d": self.flat, "1d": self.line, "3d": self.conv}[kind]
        y = conv(f"{name}.conv1", functional.silu(self.norm(f"{name}.norm1", x)), out)
        y = conv(f"{name}.conv2", functional.silu(self.norm(f"{name}.norm2", y)), out)
        if x.shape[1] != out:
            x = self.flat(f"{name}.nin_shortcut", x, out, 1)
        return x + y

    def middle(self, name: str, x: Tensor) -> Tensor:
        width = x.shape[1]
        x = self.block(f"{name}.block_1", x, width, "3d")
        y = self.norm(f"{name}.attn_1.norm", x)
        q, k, v = (
            self.conv(f"{name}.attn_1.{part}", y, width, 1).permute(0, 2, 3, 4, 1).flatten(2, 3)
            for part in "qkv"
        )
        y = functional.scaled_dot_product_attention(q, k, v)
        y = y.unflatten(2, x.shape[-2:]).permute(0, 4, 1, 2, 3)
        x = x + self.conv(f"{name}.attn_1.proj_out", y, width, 1)
        return self.block(f"{name}.block_2", x, width, "3d")

    def mixed(self, name: str, plain: Tensor, convolved: Tensor) -> Tensor:
        share = self.w.draw(f"{name}.mix_factor", 1).sigmoid()
        return share * plain + (1 - share) * convolved

    def encode(self, x: Tensor) -> Tensor:
        """Ids of 1+4k frames."""
        x = torch.cat([x[:, :, :1].expand(-1, -1, 3, -1, -1), x], dim=2)
        x = self.conv("encoder.conv_in", x, 16)
        for level, width in enumerate((16, 32, 32)):
            x = self.block(f"encoder.down.{level}.block.0", x, width, "2d")
            x = self.block(f"encoder.down_temporal.{level}.block.0", x, width, "1d")
            if level == 2:
                break
            x = self.flat(f"encoder.down.{level}.downsample.conv", x, width, 3, 2)
            name = f"encoder.down_temporal.{level}.downsample"
            pooled = functional.avg_pool3d(self.front(x, 1), (3, 1, 1), (2, 1, 1))
            x = self.mixed(name, pooled, self.conv(f"{name}.conv", x, width, 3, 2))
        x = functional.silu(self.norm("encoder.norm_out", self.middle("encoder.mid", x)))
        return fsq_ids(self.conv("encoder.conv_out", x, 4))

    def decode(self, ids: Tensor) -> Tensor:
        x = self.conv("decoder.conv_in", fsq_values(ids), 32)
        x, first = self.middle("decoder.mid", x), 1
        for level, width in ((2, 32), (1, 32), (0, 16)):
            for block in range(2):
                x = self.block(f"decoder.up.{level}.block.{block}", x, width, "2d")
                x = self.block(f"decoder.up_temporal.{level}.block.{block}", x, width, "1d")
            if level:
                x = functional.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
                x = self.flat(f"decoder.up.{level}.upsample.conv", x, width)
                name = f"decoder.up_temporal.{level}.upsample"
                x = self.doubled(x, first)
                x, first = self.mixed(name, x, self.conv(f"{name}.conv", x, width)), 2 * first
        x = functional.silu(self.norm("decoder.norm_out", x))
        return self.conv("decoder.conv_out", x, 3)[:, :, 3:]

    def doubled(self, x: Tensor, first: int) -> Tensor:
        """Twice the frames; 1.1 interpolates, the frames of the first position on their own."""
        if self.old:
            return x.repeat_interleave(2, dim=2)
        parts = [part for part in (x[:, :, :first], x[:, :, first:]) if part.shape[2]]
        factor = (2.0, 1.0, 1.0)
        parts = [functional.interpolate(p, scale_factor=factor, mode="trilinear") for p in parts]
        return torch.cat(parts, dim=2)


def fsq_ids(z: Tensor) -> Tensor:
    """Eight values for each channel, the first channel counting least."""
    half = 7 * 1.001 / 2
    shifted = (z + np.arctanh(0.5 / half)).tanh() * half - 0.5
    places = 8 ** torch.arange(z.shape[1])
    return ((shifted.round().long() + 4) * places.view(1, -1, 1, 1, 1)).sum(1)


def fsq_values(ids: Tensor) -> Tensor:
    digits = torch.stack([ids // 8**place % 8 for place in range(4)], dim=1)
    return (digits - 4) / 4


def _vidtok_files(folder: Path, w: Weights, *, old: bool, **changes: object) -> Path:
    """A Lightning checkpoint and its settings, as published."""
    version = "" if old else "_v1_1"
    params = SMALL if old else {**SMALL, "interpolation_mode": "trilinear"}
    module = f"vidtok.modules.model_3dcausal{version}"
    levels = {"levels": [8, 8, 8, 8]}
    settings = {
        "encoder_config": {"target": f"{module}.EncoderCausal3DPadding", "params": params},
        "decoder_config": {
            "target": f"{module}.DecoderCausal3DPadding",
            "params": "${model.params.encoder_config.params}",
        },
        "regularizer_config": {
            "target": "vidtok.modules.regularizers.FSQRegularizer",
            "params": levels,
        },
    }
    encoder = settings["encoder_config"]
    encoder |= {"params": {**params, **changes}} if changes else {}
    path = folder / "vidtok_fsq_causal.ckpt"
    path.with_suffix(".yaml").write_text(yaml.safe_dump({"model": {"params": settings}}))
    training = {"loss.logvar": torch.zeros(()), "loss.discriminator.conv.weight": torch.ones(2)}
    torch.save({"state_dict": {**w, **training}, "epoch": 1, "global_step": 5}, path)
    return path


@pytest.mark.parametrize("old", [True, False], ids=["1.0", "1.1"])
def test_vidtok_ids_are_those_of_the_published_model(old: bool, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    w = Weights()
    published = VidTok(w, old=old)
    x = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ids = published.encode(x)
    made = published.decode(ids)

    model = convert("vidtok", _vidtok_files(tmp_path, w, old=old))
    tokens = model.encode(x)
    assert torch.equal(tokens.ids, ids)
    assert ids.unique().numel() > ids.numel() // 2
    torch.testing.assert_close(model.decode(tokens), made.clamp(-1, 1), rtol=1e-4, atol=1e-4)

    other = convert("vidtok", _vidtok_files(tmp_path, w, old=not old))
    assert not torch.equal(other.encode(x).ids, ids)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(again.encode(x).ids, ids)
    assert isinstance(again.spec, TokenizerSpec)


def test_vidtok_that_is_not_converted_says_so(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    path = _vidtok_files(tmp_path, Weights(), old=True, norm_type="groupnorm")
    with pytest.raises(UsageError, match="groupnorm"):
        convert("vidtok", path)
    settings = path.with_suffix(".yaml")
    settings.write_text(settings.read_text().replace("model_3dcausal.", "model_3dnoncausal."))
    with pytest.raises(UsageError, match="causal models"):
        convert("vidtok", path)
    settings.unlink()
    with pytest.raises(NotFoundError, match="no settings"):
        convert("vidtok", path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    w = Weights()
    VidTok(w, old=True).decode(VidTok(w, old=True).encode(torch.zeros(1, 3, 5, 8, 8)))
    w["encoder.extra"] = torch.zeros(1)
    del w["decoder.conv_out.conv.bias"]
    w["encoder.conv_out.conv.bias"] = torch.zeros(7)
    with pytest.raises(ZooError) as caught:
        convert("vidtok", _vidtok_files(tmp_path, w, old=True))
    problem = str(caught.value)
    assert "decoder.conv_out.conv.bias are missing" in problem
    assert "encoder.extra are left over" in problem
    assert "encoder.conv_out.conv.bias (7,) instead of (4,)" in problem


# Reading


class Trap:
    """Pickled by name, so reading it would import and call."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run on loading",)


def test_a_checkpoint_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net_last.pth"
    torch.save({"net": {}, "trap": Trap()}, path)
    with pytest.raises(UnsafeFileError, match="without running code") as caught:
        convert("t2m-gpt", path, statistics=None)
    assert "save its state alone" in str(caught.value)
    assert "run on loading" not in capsys.readouterr().out


def test_settings_of_argparse_are_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "net_last.pth"
    torch.save({"net": {}, "hyper_parameters": argparse.Namespace(width=3)}, path)
    with pytest.raises(UsageError, match="no VQ of T2M-GPT"):
        convert("t2m-gpt", path, statistics=None)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no checkpoint"):
        convert("momask", tmp_path / "none.tar", statistics=None)
    with pytest.raises(UsageError, match="no converter for 'mo-mask'") as caught:
        convert("mo-mask", tmp_path / "none.tar")
    assert "did you mean 'momask'" in str(caught.value)
    torch.save([1, 2], tmp_path / "list.tar")
    with pytest.raises(UsageError, match="layout"):
        convert("momask", tmp_path / "list.tar", statistics=None)
