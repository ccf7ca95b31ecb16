"""Converted checkpoints of VideoGPT and TATS give the ids of the published architectures.

The architectures are written here a second time, as functions of weights with their names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from zoo.adapters.convert import convert
from zoo.artefact import load
from zoo.errors import UsageError, ZooError

WIDTH, DIM, CODES, BLOCKS = 32, 8, 64, 2


class Published:
    """Weights by name, random when first asked for; `mode` is what is put around a clip."""

    def __init__(self, mode: str):
        self.state: dict[str, Tensor] = {}
        self.mode = mode
        self.dice = torch.Generator().manual_seed(0)

    def draw(self, name: str, *shape: int, scale: float = 1.0, around: float = 0.0) -> Tensor:
        if name not in self.state:
            self.state[name] = torch.randn(shape, generator=self.dice) * scale + around
        return self.state[name]

    def padded(self, x: Tensor, kernel: int, stride: tuple[int, ...]) -> Tensor:
        for axis, step in zip((2, 3, 4), stride, strict=True):
            missing = kernel - step
            front, back = (missing + 1) // 2, missing // 2
            first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
            if self.mode == "constant":
                first, last = torch.zeros_like(first), torch.zeros_like(last)
            x = torch.cat([*[first] * front, x, *[last] * back], dim=axis)
        return x

    def conv(
        self,
        name: str,
        x: Tensor,
        out: int,
        kernel: int = 3,
        stride: tuple[int, ...] = (1, 1, 1),
        bias: bool = True,
    ) -> Tensor:
        scale = 1.5 * (x.shape[1] * kernel**3) ** -0.5
        weight = self.draw(f"{name}.conv.weight", out, x.shape[1], *[kernel] * 3, scale=scale)
        plus = self.draw(f"{name}.conv.bias", out, scale=0.1) if bias else None
        return functional.conv3d(self.padded(x, kernel, stride), weight, plus, stride)

    def convt(self, name: str, x: Tensor, out: int, stride: tuple[int, ...]) -> Tensor:
        scale = (x.shape[1] * 8) ** -0.5
        weight = self.draw(f"{name}.convt.weight", x.shape[1], out, 4, 4, 4, scale=scale)
        plus = self.draw(f"{name}.convt.bias", out, scale=0.1)
        return functional.conv_transpose3d(self.padded(x, 4, stride), weight, plus, stride, 3)

    def linear(self, name: str, x: Tensor, bias: bool = False) -> Tensor:
        width = x.shape[-1]
        weight = self.draw(f"{name}.weight", width, width, scale=width**-0.5)
        return functional.linear(x, weight, self.draw(f"{name}.bias", width) if bias else None)

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        width = x.shape[1]
        weight = self.draw(f"{name}.weight", width, scale=0.1, around=1.0).view(shape)
        bias = self.draw(f"{name}.bias", width, scale=0.1).view(shape)
        mean = self.draw(f"{name}.running_mean", width, scale=0.1).view(shape)
        spread = self.draw(f"{name}.running_var", width, scale=0.05, around=1.0).view(shape)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)
        return (x - mean) / (spread + 1e-5).sqrt() * weight + bias

    def group_norm(self, name: str, x: Tensor) -> Tensor:
        weight = self.draw(f"{name}.weight", x.shape[1], scale=0.1, around=1.0)
        bias = self.draw(f"{name}.bias", x.shape[1], scale=0.1)
        return functional.group_norm(x, 32, weight, bias, 1e-6)

    def codes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        rows = z.movedim(1, -1)
        picked = rows.flatten(0, -2)[torch.randperm(rows.numel() // DIM, generator=self.dice)]
        noise = torch.randn(picked[:CODES].shape, generator=self.dice)
        codes = picked[:CODES] + noise * 0.1 * picked.std()
        table = self.state.setdefault("codebook.embeddings", codes)
        self.draw("codebook.z_avg", *table.shape)
        self.draw("codebook.N", len(table)).abs_()
        ids = torch.cdist(rows.flatten(0, -2), table).argmin(-1).view(rows.shape[:-1])
        return ids, table[ids].movedim(-1, 1)


def videogpt(w: Published, x: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and reconstruction, downsampling time by 2 and space by 4."""
    strides = [(2, 2, 2), (1, 2, 2)]
    y = x
    for layer, stride in enumerate(strides):
        y = w.conv(f"encoder.convs.{layer}", y, WIDTH, 4, stride).relu()
    y = _attended(w, "encoder.res_stack", w.conv("encoder.conv_last", y, WIDTH))
    ids, values = w.codes(w.conv("pre_vq_conv", y, DIM, 1))
    y = _attended(w, "decoder.res_stack", w.conv("post_vq_conv", values, WIDTH, 1))
    y = w.convt("decoder.convts.0", y, WIDTH, strides[0]).relu()
    return ids, w.convt("decoder.convts.1", y, 3, strides[1])


def _attended(w: Published, name: str, x: Tensor) -> Tensor:
    for block in range(BLOCKS):
        part = f"{name}.{block}.block"
        y = w.conv(f"{part}.2", w.batch_norm(f"{part}.0", x).relu(), WIDTH // 2, 3, bias=False)
        y = w.conv(f"{part}.5", w.batch_norm(f"{part}.3", y).relu(), WIDTH, 1, bias=False)
        y = w.batch_norm(f"{part}.6", y).relu().movedim(1, -1)
        axes = {"w": 3, "h": 2, "t": 1}
        lines = [_line(w, f"{part}.8.attn_{key}", y, axis) for key, axis in axes.items()]
        x = x + sum(lines).movedim(-1, 1)
    return w.batch_norm(f"{name}.{BLOCKS}", x).relu()


def _line(w: Published, name: str, x: Tensor, axis: int) -> Tensor:
    q, k, v = (w.linear(f"{name}.w_{part}s", x).movedim(axis, -2) for part in "qkv")
    heads = []
    for half in (slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH)):
        scores = q[..., half] @ k[..., half].transpose(-1, -2) / (WIDTH // 2) ** 0.5
        heads.append(scores.softmax(-1) @ v[..., half])
    return w.linear(f"{name}.fc", torch.cat(heads, dim=-1), bias=True).movedim(-2, axis)


def tats(norm: str) -> Callable[[Published, Tensor], tuple[Tensor, Tensor]]:
    """Ids and reconstruction with one kind of normalisation."""

    def run(w: Published, x: Tensor) -> tuple[Tensor, Tensor]:
        normed = w.batch_norm if norm == "batch" else w.group_norm

        def res(name: str, x: Tensor) -> Tensor:
            y = w.conv(f"{name}.conv1", functional.silu(normed(f"{name}.norm1", x)), x.shape[1])
            return x + w.conv(
                f"{name}.conv2", functional.silu(normed(f"{name}.norm2", y)), x.shape[1]
            )

        strides = [(2, 2, 2), (1, 2, 2)]
        y = w.conv("encoder.conv_first", x, WIDTH)
        for layer, stride in enumerate(strides):
            name = f"encoder.conv_blocks.{layer}"
            y = res(f"{name}.res", w.conv(f"{name}.down", y, 2 * y.shape[1], 4, stride))
        y = functional.silu(normed("encoder.final_block.0", y))
        ids, values = w.codes(w.conv("pre_vq_conv", y, DIM, 1))
        y = w.conv("post_vq_conv", values, 4 * WIDTH, 1)
        y = functional.silu(normed("decoder.final_block.0", y))
        for layer, (stride, width) in enumerate(zip(strides, (4 * WIDTH, 2 * WIDTH), strict=True)):
            name = f"decoder.conv_blocks.{layer}"
            y = w.convt(f"{name}.up", y, width, stride)
            y = res(f"{name}.res2", res(f"{name}.res1", y))
        return ids, w.conv("decoder.conv_last", y, 3)

    return run


CASES: list[tuple[str, str, Callable[[Published, Tensor], tuple[Tensor, Tensor]]]] = [
    ("videogpt", "constant", videogpt),
    ("tats", "replicate", tats("batch")),
    ("tats", "replicate", tats("group")),
]


def saved(path: Path, state: dict[str, Tensor], **settings: Any) -> Path:
    """As Lightning saves it, with the parts that only training needs."""
    training = {"image_discriminator.model0.0.weight": torch.ones(2)}
    arguments = argparse.Namespace(n_hiddens=WIDTH, **settings)
    torch.save({"state_dict": {**state, **training}, "hyper_parameters": {"args": arguments}}, path)
    return path


@pytest.mark.parametrize(("layout", "mode", "run"), CASES, ids=["videogpt", "tats", "tats-group"])
def test_ids_are_those_of_the_published_model(
    layout: str, mode: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    w = Published(mode)
    x = torch.rand(2, 3, 8, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ids, made = run(w, x / 2)
    path = saved(tmp_path / "a.ckpt", w.state, downsample=[2, 4, 4], sequence_length=8)
    model = convert(layout, path)
    tokens = model.encode(x)
    assert torch.equal(tokens.ids, ids)
    assert ids.unique().numel() > 8
    expected = (made * 2).clamp(-1, 1)
    torch.testing.assert_close(model.decode(tokens), expected, rtol=1e-3, atol=1e-3)

    model.save(tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").encode(x).ids, ids)


def test_strides_are_asked_for_where_the_checkpoint_does_not_tell(tmp_path: Path) -> None:
    w = Published("constant")
    videogpt(w, torch.zeros(1, 3, 8, 16, 16))
    path = saved(tmp_path / "a.ckpt", w.state)
    with pytest.raises(UsageError, match="does not tell its strides"):
        convert("videogpt", path)
    assert convert("videogpt", path, downsample=(2, 4, 4), frames=8).spec.compression == (2, 4, 4)
    with pytest.raises(ZooError, match="not of this architecture"):
        convert("videogpt", path, downsample=(2, 8, 8))
    with pytest.raises(UsageError, match="TATS's layout"):
        convert("tats", path)


def test_edges_of_another_kind_are_refused(tmp_path: Path) -> None:
    w = Published("replicate")
    tats("batch")(w, torch.zeros(1, 3, 8, 16, 16))
    path = saved(tmp_path / "a.ckpt", w.state, downsample=[2, 4, 4], padding_type="reflect")
    with pytest.raises(UsageError, match="padding_type 'reflect'"):
        convert("tats", path)
