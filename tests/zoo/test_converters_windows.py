"""Converted checkpoints of VideoGPT, TATS and OmniTokenizer give the published models' ids.

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


class Omni:
    """OmniTokenizer of two layers inside of frames and one along time, one clip at a time."""

    side, patch, frames, heads, head, window = 4, 4, 2, 2, 16, 2

    def __init__(self, w: Published):
        self.w = w

    def gamma(self, name: str, x: Tensor) -> Tensor:
        weight = self.w.draw(f"{name}.gamma", x.shape[-1], scale=0.1, around=1.0)
        self.w.state[f"{name}.beta"] = torch.zeros(x.shape[-1])
        return functional.layer_norm(x, x.shape[-1:], weight)

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight = self.w.draw(f"{name}.weight", x.shape[-1], scale=0.1, around=1.0)
        bias = self.w.draw(f"{name}.bias", x.shape[-1], scale=0.1)
        return functional.layer_norm(x, x.shape[-1:], weight, bias)

    def linear(self, name: str, x: Tensor, out: int, bias: bool = True) -> Tensor:
        weight = self.w.draw(f"{name}.weight", out, x.shape[-1], scale=x.shape[-1] ** -0.5)
        return functional.linear(x, weight, self.w.draw(f"{name}.bias", out) if bias else None)

    def neighbours(self, name: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        weight = self.w.draw(f"{name}.dsconv.weight", WIDTH, 1, 3, 3, 3, scale=0.2)
        bias = self.w.draw(f"{name}.dsconv.bias", WIDTH, scale=0.1)
        clip = x.reshape(*shape, WIDTH).permute(0, 4, 1, 2, 3)
        clip = functional.conv3d(
            functional.pad(clip, (1, 1, 1, 1, 2, 0)), weight, bias, groups=WIDTH
        )
        return clip.permute(0, 2, 3, 4, 1).reshape(x.shape)

    def attention(self, name: str, x: Tensor, *, causal: bool, turned: bool) -> Tensor:
        inner = self.heads * self.head
        q = self.linear(f"{name}.to_q", self.gamma(f"{name}.norm", x), inner, False)
        k, v = self.linear(f"{name}.to_kv", x, 2 * inner, False).chunk(2, -1)
        self.w.draw(f"{name}.context_norm.gamma", WIDTH)
        if not turned:
            self.w.draw(f"{name}.spatial_rel_pos_bias.net.0.0.weight", WIDTH, 2)
        scales = [
            self.w.draw(f"{name}.{part}_scale", self.head, scale=0.1, around=1.0) for part in "qk"
        ]
        made = []
        for number in range(self.heads):
            part = slice(number * self.head, (number + 1) * self.head)
            a, b = q[..., part], k[..., part]
            if turned:
                a, b = self.turn(a), self.turn(b)
            a = a / a.norm(dim=-1, keepdim=True) * scales[0]
            b = b / b.norm(dim=-1, keepdim=True) * scales[1]
            scores = 8 * a @ b.transpose(-1, -2)
            if causal:
                later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(later, -torch.inf)
            made.append(scores.softmax(-1) @ v[..., part])
        return self.linear(f"{name}.to_out", torch.cat(made, -1), WIDTH, False)

    def turn(self, x: Tensor) -> Tensor:
        out = x.clone()
        for place in range(x.shape[1]):
            for pair in range(self.head // 2):
                where = place % self.side if pair % 2 == 0 else place // self.side
                angle = torch.tensor(where * 10000.0 ** -(pair // 2 * 4 / self.head))
                even, odd = x[:, place, 2 * pair], x[:, place, 2 * pair + 1]
                out[:, place, 2 * pair] = even * angle.cos() - odd * angle.sin()
                out[:, place, 2 * pair + 1] = even * angle.sin() + odd * angle.cos()
        return out

    def windows(self, name: str, x: Tensor) -> Tensor:
        qkv = self.linear(f"{name}.qkv", self.gamma(f"{name}.norm", x), 3 * WIDTH, False)
        span, depth = 2 * self.window - 1, WIDTH // self.heads
        table = self.w.draw(f"{name}.relative_position_bias_table", span**2, self.heads)
        self.w.state[f"{name}.relative_position_index"] = torch.zeros(4, 4, dtype=torch.long)
        seen = torch.zeros_like(x)
        for a in range(x.shape[1]):
            row, column = divmod(a, self.side)
            near = [
                b
                for b in range(x.shape[1])
                if (b // self.side // self.window, b % self.side // self.window)
                == (row // self.window, column // self.window)
            ]
            for number in range(self.heads):
                part = slice(number * depth, (number + 1) * depth)
                q, k, v = (qkv[..., n * WIDTH : (n + 1) * WIDTH][..., part] for n in range(3))
                away = [
                    (row - b // self.side + self.window - 1) * span
                    + column - b % self.side + self.window - 1
                    for b in near
                ]  # fmt: skip
                scores = (q[:, a, None] * k[:, near]).sum(-1) * depth**-0.5 + table[away, number]
                seen[:, a, part] = (scores.softmax(-1)[..., None] * v[:, near]).sum(1)
        return self.linear(f"{name}.proj", seen, WIDTH)

    def layer(self, name: str, x: Tensor, shape: tuple[int, ...], block: str, time: bool) -> Tensor:
        if block == "w":
            x = x + self.windows(f"{name}.1", x)
        else:
            x = x + self.neighbours(f"{name}.0", x, shape)
            x = x + self.attention(f"{name}.1", x, causal=time, turned=not time)
        inner = int(4 * (2 / 3) * WIDTH)
        y = self.linear(f"{name}.3.1", self.norm(f"{name}.3.0", x), 2 * inner, False)
        y, gate = y.chunk(2, -1)
        return x + self.linear(f"{name}.3.4", functional.gelu(gate) * y, WIDTH, False)

    def space(self, name: str, x: Tensor, blocks: str) -> Tensor:
        y = x.reshape(-1, self.side**2, WIDTH)
        for number, block in enumerate(blocks):
            y = self.layer(f"{name}.layers.{number}", y, x.shape[:4], block, False)
        return self.gamma(f"{name}.norm_out", y).view(x.shape)

    def time(self, name: str, x: Tensor) -> Tensor:
        lines = x.permute(0, 2, 3, 1, 4)
        y = self.layer(
            f"{name}.layers.0", lines.reshape(-1, x.shape[1], WIDTH), x.shape[:4], "t", True
        )
        return self.gamma(f"{name}.norm_out", y).view(lines.shape).permute(0, 3, 1, 2, 4)

    def patches(self, name: str, x: Tensor, frames: int) -> Tensor:
        count, p = x.shape[2] // frames, self.patch
        cut = x.reshape(len(x), 3, count, frames, self.side, p, self.side, p)
        cut = cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(len(x), count, self.side, self.side, -1)
        return self.norm(f"{name}.3", self.linear(f"{name}.2", self.norm(f"{name}.1", cut), WIDTH))

    def pixels(self, name: str, x: Tensor, frames: int) -> Tensor:
        p = self.patch
        made = self.linear(f"{name}.0", x, 3 * frames * p * p)
        made = made.reshape(*x.shape[:4], 3, frames, p, p).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return made.reshape(len(x), 3, -1, self.side * p, self.side * p)


def omnitokenizer(w: Published, x: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and reconstruction of 1+2k frames of 16x16."""
    net = Omni(w)
    first = net.patches("encoder.to_patch_emb_first_frame", x[:, :, :1], 1)
    y = torch.cat([first, net.patches("encoder.to_patch_emb", x[:, :, 1:], 2)], dim=1)
    y = net.time(
        "encoder.enc_temporal_transformer", net.space("encoder.enc_spatial_transformer", y, "tw")
    )
    z = net.linear("pre_vq_conv.1", y, DIM)
    ids, values = w.codes((z / z.norm(dim=-1, keepdim=True)).movedim(-1, 1))
    y = net.linear("post_vq_conv.1", values.movedim(1, -1), WIDTH)
    y = net.space(
        "decoder.dec_spatial_transformer", net.time("decoder.dec_temporal_transformer", y), "t"
    )
    first = net.pixels("decoder.to_pixels_first_frame", y[:, :1], 1)
    return ids, torch.cat([first, net.pixels("decoder.to_pixels", y[:, 1:], 2)], dim=2)


def test_ids_of_omnitokenizer_are_those_of_the_published_model(tmp_path: Path) -> None:
    w = Published("constant")
    x = torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ids, made = omnitokenizer(w, x / 2)
    settings: dict[str, Any] = {
        "resolution": 16, "patch_size": 4, "temporal_patch_size": 2, "embedding_dim": WIDTH,
        "heads": 2, "dim_head": 16, "ff_mult": 4.0, "enc_block": "tw", "dec_block": "t",
        "temporal_depth": 1, "twod_window_size": 2, "spatial_pos": "rope", "casual_in_peg": True,
        "casual_in_temporal_transformer": True, "l2_code": True, "patch_embed": "linear",
    }  # fmt: skip
    model = convert("omnitokenizer", saved(tmp_path / "a.ckpt", w.state, **settings))
    tokens = model.encode(x)
    assert torch.equal(tokens.ids, ids)
    assert ids.unique().numel() > 8
    expected = (made * 2).clamp(-1, 1)
    torch.testing.assert_close(model.decode(tokens), expected, rtol=1e-3, atol=1e-3)
    model.save(tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").encode(x).ids, ids)
    continuous = saved(tmp_path / "b.ckpt", w.state, **settings, use_vae=True)
    with pytest.raises(UsageError, match="use_vae True"):
        convert("omnitokenizer", continuous)


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
