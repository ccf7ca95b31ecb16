"""Encoders of transformers as teachers, on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

import transformers

from zoo import create
from zoo.adapters.transformers import FeatureTeacher
from zoo.errors import InputError, NotFoundError, UsageError

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
IMAGE = {**SMALL, "image_size": 32, "patch_size": 8}


def image_encoder(kind: str) -> Any:
    torch.manual_seed(0)
    config = {
        "vit": lambda: transformers.ViTConfig(**IMAGE),
        "dinov2": lambda: transformers.Dinov2Config(**IMAGE),
        "registers": lambda: transformers.Dinov2WithRegistersConfig(**IMAGE, num_register_tokens=3),
        "beit": lambda: transformers.BeitConfig(**IMAGE),
        "clip": lambda: transformers.CLIPVisionConfig(**IMAGE),
        "siglip": lambda: transformers.SiglipVisionConfig(**IMAGE),
    }[kind]()
    return transformers.AutoModel.from_config(config).eval()


def clip_encoder(kind: str) -> Any:
    torch.manual_seed(0)
    options = {**SMALL, "image_size": 32, "num_frames": 8}
    config = {
        "videomae": lambda: transformers.VideoMAEConfig(**options, patch_size=8, tubelet_size=2),
        "vivit": lambda: transformers.VivitConfig(**options, tubelet_size=[2, 8, 8]),
    }[kind]()
    return transformers.AutoModel.from_config(config).eval()


def frames(count: int = 3, side: int = 40, batch: int = 2) -> Tensor:
    dice = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, count, side, side, generator=dice) * 2 - 1


@pytest.mark.parametrize("kind", ["vit", "dinov2", "registers", "beit", "clip", "siglip"])
def test_an_image_encoder_gives_features_of_patches(kind: str) -> None:
    encoder = image_encoder(kind)
    teacher = FeatureTeacher(encoder, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    x = frames(side=32)
    made = teacher(x, (4, 4))
    assert made.shape == (2, 3, 4, 4, teacher.width)
    assert not made.requires_grad
    with torch.no_grad():
        wanted = encoder(pixel_values=x[1, :, 2][None]).last_hidden_state[0, -16:]
    torch.testing.assert_close(made[1, 2].flatten(0, 1), wanted, rtol=1e-4, atol=1e-5)
    assert teacher(frames(), (6, 2)).shape == (2, 3, 6, 2, teacher.width)


@pytest.mark.parametrize("kind", ["videomae", "vivit"])
def test_a_clip_encoder_sees_its_own_number_of_frames(kind: str) -> None:
    encoder = clip_encoder(kind)
    teacher = FeatureTeacher(encoder, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    x = frames(8, side=32, batch=1)
    made = teacher(x, (4, 4))
    with torch.no_grad():
        tokens = encoder(pixel_values=x.transpose(1, 2)).last_hidden_state[0, -64:]
    wanted = tokens.unflatten(0, (4, 4, 4)).repeat_interleave(2, dim=0)
    torch.testing.assert_close(made[0], wanted, rtol=1e-4, atol=1e-5)
    for count in (1, 5, 17):
        assert teacher(frames(count), (4, 4)).shape == (2, count, 4, 4, 16)


def test_a_backbone_gives_its_last_map() -> None:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**IMAGE, out_features=["stage2"])
    backbone = transformers.AutoBackbone.from_config(config)
    assert FeatureTeacher(backbone)(frames(), (4, 4)).shape == (2, 3, 4, 4, 16)


def test_of_a_pair_with_text_images_are_used() -> None:
    config = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 20}, vision_config=IMAGE, projection_dim=8
    )
    teacher = FeatureTeacher(transformers.AutoModel.from_config(config))
    assert teacher(frames(), (4, 4)).shape == (2, 3, 4, 4, 16)


def test_what_is_no_encoder_of_images_is_refused() -> None:
    text = transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=20))
    with pytest.raises(UsageError, match="no encoder of images"):
        FeatureTeacher(text)
    with pytest.raises(InputError, match=r"\(B, 3, T, H, W\)"):
        FeatureTeacher(image_encoder("vit"))(frames()[:, :1], (4, 4))


def test_a_folder_loads_with_the_numbers_of_its_processor(tmp_path: Path) -> None:
    encoder = image_encoder("vit")
    encoder.save_pretrained(tmp_path)
    known = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(known))
    loaded = FeatureTeacher.load(str(tmp_path))
    same = FeatureTeacher(encoder, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert torch.equal(loaded(frames(), (4, 4)), same(frames(), (4, 4)))
    other = FeatureTeacher(encoder)
    assert not torch.allclose(other(frames(), (4, 4)), same(frames(), (4, 4)))
    with pytest.raises(NotFoundError, match="no encoder"):
        FeatureTeacher.load(str(tmp_path / "missing"))


def test_vq_kd_learns_from_an_encoder() -> None:
    model = create("image/teacher_codes_tiny")
    width = model.config.teacher_width
    torch.manual_seed(0)
    config = transformers.ViTConfig(**{**IMAGE, "hidden_size": width, "intermediate_size": 32})
    teacher = FeatureTeacher(transformers.AutoModel.from_config(config))
    x = torch.rand(model.example_shape()) * 2 - 1
    before = {name: float(value.detach()) for name, value in model.train()(x).losses.items()}
    model.learn_from(teacher)
    after = {name: float(value.detach()) for name, value in model(x).losses.items()}
    assert before.keys() == after.keys()
    assert before != after
    assert not any("teacher" in name for name in model.state_dict())
