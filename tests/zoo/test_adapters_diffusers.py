"""VAEs of diffusers under our verbs: lengths, latents, streams, addresses, licences."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")

from zoo import create, load
from zoo.adapters.diffusers import CHECKPOINTS, licence_of, load_diffusers
from zoo.errors import InputError, NotFoundError, UnsafeFileError, UsageError
from zoo.registry import presets
from zoo.tokenizers import diffusers_vae
from zoo.tokenizers.diffusers_vae import Config, DiffusersVae
from zoo.tokens import Tokens

TINY = [entry.name for entry in diffusers_vae.PRESETS if entry.is_tiny]
FULL = [entry.name for entry in diffusers_vae.PRESETS if not entry.is_tiny]
WHOLE = ["cogvideox", "hunyuanvideo", "hunyuanvideo15", "ltx", "mochi", "wan", "easyanimate"]


def tiny(kind: str) -> DiffusersVae:
    torch.manual_seed(0)
    model = create(f"video/diffusers_{kind}_tiny")
    assert isinstance(model, DiffusersVae)
    return model


def clip(model: DiffusersVae, frames: int, seed: int = 0) -> Tensor:
    side = 2 * model.spec.multiple
    noise = torch.rand(1, 3, frames, side, side, generator=torch.Generator().manual_seed(seed))
    return noise * 2 - 1


@pytest.mark.parametrize("name", TINY)
def test_1_to_40_frames_in_are_as_many_out(name: str) -> None:
    """Lengths that are padded to the same one differ in how much the base crops."""
    model = tiny(name.removeprefix("video/diffusers_").removesuffix("_tiny"))
    shortest: dict[int, int] = {}
    for frames in range(1, 41):
        shortest.setdefault(model.spec.length.padded(frames), frames)
    for frames in shortest.values():
        x = clip(model, frames)
        tokens = model.encode(x)
        assert tokens.grid == model.spec.grid(tokens.size)["tokens"]
        assert model.decode(tokens).shape == x.shape


@pytest.mark.parametrize("kind", WHOLE)
@torch.no_grad()
def test_latents_are_the_mode_brought_to_unit_variance(kind: str) -> None:
    model = tiny(kind)
    x = clip(model, model.spec.length.first + 2 * model.spec.length.step)
    mode = model.vae.encode(x).latent_dist.mode()
    mean, deviation = (value.view(1, -1, 1, 1, 1) for value in model.port.statistics())
    latents = model.encode(x).ids
    torch.testing.assert_close(latents, ((mode - mean) / deviation).movedim(1, -1))
    decoded = model.vae.decode(mode).sample.clamp(-1, 1)
    torch.testing.assert_close(model.decode(model.encode(x)), decoded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "mean", "deviation"),
    [
        ("hunyuanvideo", [0.0] * 4, [1 / 0.476986] * 4),
        ("wan", [0.1, -0.2, 0.3, 0.0], [1.0, 1.5, 0.5, 2.0]),
        ("mochi", [0.1, -0.2, 0.3, 0.0], [1.0, 1.5, 0.5, 2.0]),
        ("vidtok_kl", [0.0] * 4, [1.0] * 4),
    ],
)
def test_statistics_come_from_the_names_that_the_class_uses(
    kind: str, mean: list[float], deviation: list[float]
) -> None:
    found = tiny(kind).port.statistics()
    torch.testing.assert_close(found[0], torch.tensor(mean))
    torch.testing.assert_close(found[1], torch.tensor(deviation))


def test_statistics_of_ltx_are_buffers_that_decide_the_hash() -> None:
    model = tiny("ltx")
    before, x = model.encode(clip(model, 5)), clip(model, 5)
    model.vae.latents_mean.fill_(0.5)
    model.vae.latents_std.fill_(2.0)
    after = model.encode(x)
    torch.testing.assert_close(after.ids, (before.ids - 0.5) / 2.0)
    assert after.spec_hash != before.spec_hash


def test_cosmos_keeps_the_statistics_of_the_last_known_position() -> None:
    settings = {"latents_mean": [0.0, 1.0, 2.0] * 4, "latents_std": [1.0, 1.0, 2.0] * 4}
    mean, deviation = _cosmos(settings)._statistics(torch.zeros(1, 4, 5, 1, 1))
    assert mean[0, 0, :, 0, 0].tolist() == [0.0, 1.0, 2.0, 2.0, 2.0]
    assert deviation[0, 0, :, 0, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]


def _cosmos(settings: dict[str, list[float]]) -> DiffusersVae:
    vae, known = diffusers_vae._TINY["cosmos"]
    return DiffusersVae(Config.of(vae, {**known, **settings}))


@pytest.mark.parametrize("kind", ["wan", "easyanimate"])
def test_streams_side_by_side_do_not_mix(kind: str) -> None:
    model = tiny(kind)
    first, second = clip(model, 13, seed=1), clip(model, 13, seed=2)
    pairs = zip(
        model.encode_stream(first.split(3, dim=2)),
        model.encode_stream(second.split(3, dim=2)),
        strict=True,
    )
    parts = list(pairs)
    for x, taken in ((first, 0), (second, 1)):
        joined = Tokens.join([pair[taken] for pair in parts])
        assert torch.equal(joined.ids, model.encode(x).ids)


@torch.no_grad()
def test_vidtok_gives_5_positions_for_17_frames_and_the_ids_of_the_class() -> None:
    model = tiny("vidtok_fsq")
    x = clip(model, 17)
    tokens = model.encode(x)
    assert tokens.grid == (5, 2, 2)
    assert torch.equal(tokens.ids, model.vae(x, encoder_mode=True)[1].long())
    assert model.decode(tokens).shape[2] == 17
    assert presets()["video/diffusers_vidtok_fsq.causal_488_k32768"].spec.grid((17, 256, 256)) == {
        "tokens": (5, 32, 32)
    }


def test_vidtok_that_looks_ahead_takes_16_frames_at_a_time() -> None:
    vae, known = diffusers_vae._TINY["vidtok_fsq"]
    model = DiffusersVae(Config.of(vae, {**known, "is_causal": False}))
    x = clip(model, 20)
    tokens = model.encode(x)
    assert str(model.spec.length) == "16k"
    assert not model.spec.causal
    assert tokens.grid == (8, 2, 2)
    assert model.decode(tokens).shape == x.shape


def test_ltx_decodes_equally_with_noise_and_time_steps() -> None:
    vae, known = diffusers_vae._TINY["ltx"]
    noisy = {"decoder_inject_noise": [True] * 4, "timestep_conditioning": True}
    model = DiffusersVae(Config.of(vae, {**known, **noisy}))
    for name, value in model.vae.named_parameters():
        if "per_channel_scale" in name:
            value.data.fill_(1.0)
    tokens = model.encode(clip(model, 5))
    assert torch.equal(model.decode(tokens), model.decode(tokens))


@pytest.mark.parametrize("name", [n for n in FULL if "parameters" in presets()[n].published])
def test_parameters_are_as_published(name: str) -> None:
    entry = presets()[name]
    with torch.device("meta"):
        count = sum(value.numel() for value in entry.build().parameters())
    assert count == pytest.approx(float(entry.published["parameters"]), rel=1e-3)


def test_wan_caches_1_4k_frames_and_pads_other_lengths() -> None:
    model = tiny("wan")
    assert [model.encode(clip(model, n)).grid[0] for n in (1, 4, 17, 18)] == [1, 2, 5, 6]
    assert presets()["video/diffusers_wan.v21"].spec.streams[0].channels == 16


def test_easyanimate_caches_1_4k_frames() -> None:
    spec = presets()["video/diffusers_easyanimate.v51"].spec
    assert str(spec.length) == "1+4k"
    assert spec.grid((49, 384, 672)) == {"tokens": (13, 48, 84)}


def test_allegro_caches_4_channels_and_keeps_the_shape() -> None:
    model = tiny("allegro")
    x = clip(model, 30)
    tokens = model.encode(x)
    assert tokens.ids.shape[-1] == 4
    assert model.decode(tokens).shape == x.shape
    assert presets()["video/diffusers_allegro.v1"].spec.grid((88, 720, 1280)) == {
        "tokens": (22, 90, 160)
    }


def test_stable_video_diffusion_caches_one_latent_for_each_of_25_frames() -> None:
    model = tiny("svd")
    assert model.encode(clip(model, 25)).ids.shape == (1, 25, 2, 2, 4)


def test_hunyuanvideo_is_filtered_by_licence() -> None:
    licence = licence_of("hunyuanvideo-community/HunyuanVideo")
    assert licence is not None
    assert licence.allows("commercial", region="US")
    for region in ("DE", "FR", "GB", "KR", ""):
        assert not licence.allows("research", region=region)
    free = [repo for repo, known in CHECKPOINTS.items() if known.licence.allows("commercial")]
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers" in free
    assert "hunyuanvideo-community/HunyuanVideo" not in free
    assert licence_of("somebody/else") is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("wan").vae.save_pretrained(tmp_path / "pipeline" / "vae")
    return tmp_path / "pipeline" / "vae"


def test_a_folder_loads_with_equal_latents(folder: Path) -> None:
    model, x = tiny("wan"), clip(tiny("wan"), 9)
    for again in (load(f"diffusers:{folder}"), load_diffusers(str(folder.parent), "vae")):
        assert torch.equal(again.encode(x).ids, model.encode(x).ids)


def test_precision_and_tiling_are_part_of_the_spec(folder: Path, tmp_path: Path) -> None:
    plain, half = load_diffusers(str(folder)), load_diffusers(str(folder), dtype="bfloat16")
    tiled = load_diffusers(str(folder), tiling=True)
    assert half.spec.precision == "bfloat16"
    assert len({plain.spec.hash, half.spec.hash, tiled.spec.hash}) == 3
    assert not tiled.spec.streaming
    half.save(tmp_path / "saved")
    again, x = load(f"local-dir:{tmp_path / 'saved'}"), clip(tiny("wan"), 5)
    assert again.spec.hash == half.spec.hash
    assert torch.equal(again.encode(x).ids, half.encode(x).ids)


def test_tiles_are_encoded_as_the_class_does() -> None:
    vae, known = diffusers_vae._TINY["wan"]
    model = DiffusersVae(Config.of(vae, known, tiling=True))
    model.vae.enable_tiling(16, 16, 8, 8)
    x = torch.rand(1, 3, 5, 24, 24) * 2 - 1
    assert model.decode(model.encode(x)).shape == x.shape
    with pytest.raises(UsageError, match="tiles"):
        DiffusersVae(Config.of(*diffusers_vae._TINY["svd"], tiling=True))


def test_tiles_of_allegro_must_fill_the_frame() -> None:
    model = DiffusersVae(Config.of(*diffusers_vae._TINY["allegro"], tiling=True))
    with pytest.raises(InputError, match="whole tiles") as caught:
        model.encode(clip(model, 24))
    assert "320+200k rows and 320+240k columns" in str(caught.value)


def test_only_what_touches_encoding_changes_the_hash() -> None:
    vae, known = diffusers_vae._TINY["wan"]
    torch.manual_seed(0)
    model = DiffusersVae(Config.of(vae, known))
    wider = DiffusersVae(Config.of(vae, {**known, "decoder_base_dim": 16}))
    wider.vae.encoder.load_state_dict(model.vae.encoder.state_dict())
    wider.vae.quant_conv.load_state_dict(model.vae.quant_conv.state_dict())
    assert wider.spec.hash == model.spec.hash
    shifted = DiffusersVae(Config.of(vae, {**known, "latents_mean": [0.0] * 4}))
    shifted.load_state_dict(model.state_dict())
    assert shifted.spec.hash != model.spec.hash


def test_pickles_are_refused(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="no safetensors"):
        load_diffusers(str(folder))


def test_what_cannot_be_loaded_says_why(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        load_diffusers(str(tmp_path))
    config = folder / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKLWan", "AutoencoderKL"))
    with pytest.raises(UsageError, match="no port"):
        load_diffusers(str(folder))
    with pytest.raises(UsageError, match="no port for 'AutoencoderKLWann'") as caught:
        DiffusersVae(Config("AutoencoderKLWann"))
    assert "AutoencoderKLWan" in str(caught.value)
    with pytest.raises(UsageError, match="3 times"):
        DiffusersVae(
            Config.of("AutoencoderKLWan", {"base_dim": 8, "temperal_downsample": [True] * 3})
        )


def test_without_diffusers_there_are_no_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        spec = importlib.util.spec_from_file_location("bare_vae", diffusers_vae.__file__)
        assert spec is not None
        assert spec.loader is not None
        bare = importlib.util.module_from_spec(spec)
        patched.setitem(importlib.sys.modules, "bare_vae", bare)  # type: ignore[attr-defined]
        spec.loader.exec_module(bare)
    assert bare.PRESETS == ()
    with pytest.raises(UsageError, match="needs diffusers"):
        bare.DiffusersVae(bare.Config("AutoencoderKLWan"))
