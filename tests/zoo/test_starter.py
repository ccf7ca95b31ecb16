"""The shipped weights do what their cards say, on rendered media and on real files held out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from catalogs.testing.mocap import render_take
from catalogs.testing.video import render_video
from catalogs.testing.video_truth import Shot
from curation.mocap.features import recover_joints
from curation.mocap.read import read_motion
from curation.mocap.vectors import encode
from zoo.hub import SHIPPED, shipped
from zoo.metrics import MPJPE, PSNR
from zoo.tokenizer import Tokenizer
from zoo.training.humanml import humanml_joints

SHOTS = [Shot("pan_left", 17, 1)]


def clip(path: Path, frames: int = 17, side: int = 128) -> Tensor:
    """The first frames of a video, their middle square, as tokenizers take them."""
    squares: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            scale = side / min(picture.shape[:2])
            size = [max(side, round(extent * scale)) for extent in picture.shape[1::-1]]
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            top, left = ((extent - side) // 2 for extent in small.shape[:2])
            squares.append(small[top : top + side, left : left + side])
            if len(squares) == frames:
                break
    return torch.from_numpy(np.stack(squares)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def psnr(tokenizer: Tokenizer, x: Tensor) -> float:
    metric = PSNR()
    metric.update(x, tokenizer.decode(tokenizer.encode(x)))
    return metric.compute().value


def root_mpjpe(tokenizer: Tokenizer, features: np.ndarray) -> float:
    """In millimetres, over the first 64 frames."""
    x = torch.from_numpy(features[None, :64])
    metric = MPJPE("root")
    metric.update(humanml_joints(x), humanml_joints(tokenizer.decode(tokenizer.encode(x))))
    return metric.compute().value


def test_shipped_weights_are_small_and_load() -> None:
    assert set(shipped()) == {"video/starter", "motion/starter"}
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in files) <= 20 * 2**20
    for name in shipped():
        assert zoo.load(name).name == name


def test_rendered_footage_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    render_video(path, SHOTS, seed=5)
    assert psnr(zoo.load("video/starter"), clip(path)) >= 24


@pytest.mark.parametrize("name", ["bikes.mp4", "vl_sample_demo_1.mp4", "dj_video4.mp4"])
def test_real_footage_comes_back(shared_data: Path, name: str) -> None:
    assert psnr(zoo.load("video/starter"), clip(shared_data / "video" / name)) >= 24


def test_fewer_levels_are_a_coarser_picture(tmp_path: Path) -> None:
    tokenizer = zoo.load("video/starter")
    render_video(tmp_path / "clip.mp4", SHOTS, seed=6)
    x = clip(tmp_path / "clip.mp4")
    tokens = tokenizer.encode(x)
    quality = []
    for levels in (1, 2, 4):
        metric = PSNR()
        metric.update(x, tokenizer.decode(tokens.keep(levels)))
        quality.append(metric.compute().value)
    assert quality == sorted(quality)


def test_joints_are_those_of_the_features(tmp_path: Path) -> None:
    path = tmp_path / "take.bvh"
    render_take(path, "turn", fps=Fraction(30), seconds=4, seed=3)
    features = encode(read_motion(path).motion, "humanml263").astype(np.float64)
    x = torch.from_numpy(features)[None].requires_grad_()
    joints = humanml_joints(x)
    assert np.allclose(joints[0].detach().numpy(), recover_joints(features), atol=1e-9)
    joints.square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad[0, :-1, :67] != 0).any(0).all())


def test_rendered_takes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "take.bvh"
    render_take(path, "walk", fps=Fraction(30), seconds=6, seed=987)
    features = encode(read_motion(path).motion, "humanml263")
    assert root_mpjpe(zoo.load("motion/starter"), features) <= 45


@pytest.mark.parametrize(
    "name",
    ["bandai/dataset-1_walk_normal_001.bvh", "bandai/dataset-1_bow_active_001.bvh", "walk01.bvh"],
)
def test_real_takes_come_back(shared_data: Path, name: str) -> None:
    features = encode(read_motion(shared_data / "mocap" / name).motion, "humanml263")
    assert root_mpjpe(zoo.load("motion/starter"), features) <= 45
