"""Pretrained video generators of diffusers under our verbs, in miniature."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("ftfy")

import zoo
from catalogs.testing.hub import HubServer
from tokenize_jobs.training.media import decoded
from zoo.adapters.pipeline_traits import TRAITS
from zoo.adapters.pipelines import Pipeline
from zoo.adapters.tiny_pipelines import BUILDERS, tiny_pipeline
from zoo.errors import InputError, MissingExtraError, NotFoundError, UnsafeFileError, UsageError
from zoo.generator import Decoding, Known, Samples

pytestmark = [
    pytest.mark.filterwarnings("ignore:CPU Autocast only supports:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype:UserWarning"),
]
SIDE = 32
FRAMES = {"AllegroPipeline": 24, "LattePipeline": 10}
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Folders of tiny pipelines, each written once."""
    root = tmp_path_factory.mktemp("pipelines")

    def made(name: str) -> Path:
        if not (root / name).is_dir():
            tiny_pipeline(name).save_pretrained(root / name)
        return root / name

    return made


def loaded(folder: Path) -> Pipeline:
    model = zoo.load(f"diffusers:{folder}")
    assert isinstance(model, Pipeline)
    return model


def beginning(frames: int, held: int = 1, *, last: bool = False, seed: int = 0) -> Known:
    x = torch.rand(1, frames, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    mask = torch.zeros(1, frames, SIDE, SIDE, dtype=torch.bool)
    mask[:, :held] = True
    if last:
        mask[:, -1] = True
    return Known(x, mask)


def drawn(
    model: Pipeline, text: str = "a red cat runs", seed: int = 1, frames: int = 4, **options: Any
) -> Samples:
    asked = model.given(text=[text]) if model.traits.text else None
    if model.traits.picture:
        options.setdefault("known", beginning(frames))
    options.setdefault("size", (SIDE, SIDE))
    decoding = Decoding(steps=2, guidance=model.default_guidance)
    return model.sample(1, asked, decoding, seed=seed, frames=frames, **options)


def test_every_class_has_a_miniature() -> None:
    assert set(BUILDERS) == set(TRAITS)


@pytest.mark.parametrize("name", TRAITS)
def test_a_folder_of_diffusers_samples_from_a_seed(name: str, folder: Folder) -> None:
    model = loaded(folder(name))
    frames = FRAMES.get(name, 4)
    made = drawn(model, frames=frames).x
    assert made.shape == (1, frames, SIDE, SIDE, 3)
    assert -1 <= float(made.min()) < float(made.max()) <= 1
    assert torch.equal(made, drawn(model, frames=frames).x)
    other = {"text": "a blue dog falls"} if model.traits.text else {"seed": 2}
    assert not torch.equal(made, drawn(model, frames=frames, **other).x)


def test_a_sample_does_not_depend_on_how_many_are_made(folder: Folder) -> None:
    model = loaded(folder("WanPipeline"))
    asked = model.given(text=["a red cat", "a blue dog"], negative=["slowly", None])
    options: dict[str, Any] = {"seed": 5, "frames": 5, "size": (SIDE, SIDE)}
    decoding = Decoding(steps=2, guidance=4.0)
    both = model.sample(2, asked, decoding, **options).x
    one = model.sample(1, asked.select(slice(0, 1)), decoding, **options)
    assert torch.equal(both[:1], one.x)
    without = model.sample(1, model.given(text=["a red cat"]), decoding, **options)
    assert not torch.equal(one.x, without.x)


def test_lengths_are_made_in_full_and_cut(folder: Folder) -> None:
    model = loaded(folder("WanPipeline"))
    assert str(model.spec.length) == "1+4k"
    assert torch.equal(drawn(model, frames=7).x, drawn(model, frames=9).x[:, :7])


def test_what_does_not_fit_is_refused_with_the_mend(folder: Folder) -> None:
    model = loaded(folder("LTXPipeline"))
    with pytest.raises(UsageError, match="no frames of 40 x 64") as caught:
        model.sample(1, size=(40, 64))
    assert "the nearest are 32 x 64" in str(caught.value)
    with pytest.raises(UsageError, match="-1 frames"):
        model.sample(1, frames=-1, size=(SIDE, SIDE))
    with pytest.raises(UsageError, match="17 frames") as caught:
        loaded(folder("LattePipeline")).sample(1, frames=17)
    assert "1 to 16" in str(caught.value)
    with pytest.raises(UsageError, match="cannot be asked for 'label'"):
        model.given(label=[1])
    with pytest.raises(UsageError, match="fine-tunes"):
        model.losses(None)  # type: ignore[arg-type]


def test_the_spec_tells_what_can_be_asked_for(folder: Folder) -> None:
    spec = loaded(folder("WanPipeline")).spec
    assert (spec.tasks, spec.multiple, spec.fps) == (("text-to-video",), 16, 16.0)
    assert (spec.steps, spec.guidance, spec.negative) == (50, 5.0, True)
    assert (spec.value_range, spec.precision) == ((-1.0, 1.0), "float32")
    assert loaded(folder("LTXPipeline")).spec.tasks == ("text-to-video", "image-to-video")


def test_stable_video_diffusion_returns_25_frames_from_one_image(folder: Folder) -> None:
    model = loaded(folder("StableVideoDiffusionPipeline"))
    start = beginning(25)
    made = drawn(model, frames=0, known=start).x
    assert made.shape[1] == 25
    assert torch.equal(made[:, 0], start.x[:, 0])
    other = drawn(model, frames=0, known=beginning(25, seed=1)).x
    assert not torch.equal(made[:, 1:], other[:, 1:])
    with pytest.raises(InputError, match="begins with a picture"):
        model.sample(1, frames=4, size=(SIDE, SIDE))


def test_modelscope_and_latte_return_16_frames(folder: Folder) -> None:
    for name in ("TextToVideoSDPipeline", "LattePipeline"):
        assert drawn(loaded(folder(name)), frames=0).x.shape[1] == 16


def test_ltx_takes_a_first_picture_with_the_same_parts(folder: Folder) -> None:
    model = loaded(folder("LTXPipeline"))
    plain, started = drawn(model), drawn(model, known=beginning(4))
    assert not torch.equal(plain.x[:, 1:], started.x[:, 1:])


def test_wan_for_a_first_and_a_last_picture(folder: Folder, tmp_path: Path) -> None:
    import diffusers

    parts = BUILDERS["WanImageToVideoPipeline"]()
    known = {k: v for k, v in parts["transformer"].config.items() if not k.startswith("_")}
    known["pos_embed_seq_len"] = 34
    parts["transformer"] = diffusers.WanTransformer3DModel(**known)
    diffusers.WanImageToVideoPipeline(**parts).save_pretrained(tmp_path)
    model = loaded(tmp_path)
    made = drawn(model, frames=5, known=beginning(5, last=True)).x
    other = beginning(5, last=True)
    other.x[:, -1] = 0
    assert not torch.equal(made[:, 1:4], drawn(model, frames=5, known=other).x[:, 1:4])
    with pytest.raises(InputError, match="does not end 6 frames"):
        drawn(model, frames=6, known=beginning(6, last=True))
    with pytest.raises(InputError, match="takes no last picture"):
        drawn(loaded(folder("WanImageToVideoPipeline")), frames=5, known=beginning(5, last=True))
    start = beginning(5)
    start.mask[:, 0, :4] = False
    with pytest.raises(InputError, match="neither a first picture nor a beginning"):
        drawn(model, frames=5, known=start)


def test_skyreels_extends_a_clip(folder: Folder) -> None:
    model = loaded(folder("SkyReelsV2DiffusionForcingPipeline"))
    start = beginning(37, held=17)
    made = drawn(model, frames=37, known=start).x
    assert made.shape[1] == 37
    assert torch.equal(made[:, :17], start.x[:, :17])
    other = drawn(model, frames=37, known=beginning(37, held=17, seed=1)).x
    assert not torch.equal(made[:, 17:], other[:, 17:])
    with pytest.raises(InputError, match="cannot go on from 2 frames"):
        drawn(loaded(folder("WanPipeline")), known=beginning(4, held=2))


def test_animatediff_makes_more_frames_than_its_window_by_free_noise(folder: Folder) -> None:
    model = loaded(folder("AnimateDiffPipeline"))
    assert model.window == 8
    assert drawn(model, frames=12).x.shape[1] == 12
    assert drawn(model, frames=4).x.shape[1] == 4


def test_stable_diffusion_moves_by_a_motion_adapter(tmp_path: Path) -> None:
    import diffusers

    parts = BUILDERS["AnimateDiffPipeline"]()
    adapter = parts.pop("motion_adapter")
    parts["scheduler"] = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    adapter.save_pretrained(tmp_path / "motion")
    still = diffusers.StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None)
    still.save_pretrained(tmp_path / "still")
    with pytest.raises(UsageError, match="makes no video") as caught:
        zoo.load(f"diffusers:{tmp_path / 'still'}")
    assert "motion=" in str(caught.value)
    model = zoo.load(f"diffusers:{tmp_path / 'still'}", motion=str(tmp_path / "motion"))
    assert model.spec.name == "AnimateDiffPipeline"
    assert model.pipe.scheduler.config.beta_schedule == "linear"
    assert drawn(model, frames=2).x.shape[1] == 2
    with pytest.raises(UnsafeFileError, match="no safetensors of a motion adapter"):
        zoo.load(f"diffusers:{tmp_path / 'still'}", motion=str(tmp_path / "still"))


def test_samples_are_media_without_a_tokenizer(folder: Folder, tmp_path: Path) -> None:
    model = loaded(folder("LTXPipeline"))
    clip = decoded(model, drawn(model))[0]
    assert clip.values.shape == (4, SIDE, SIDE, 3)
    assert (clip.values.dtype, clip.fps) == ("uint8", 25)
    assert clip.write(tmp_path / "clip.mp4").stat().st_size


def test_a_package_that_is_missing_is_named(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"diffusers:{folder('SkyReelsV2Pipeline')}"
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "ftfy" else find(n))
    with pytest.raises(MissingExtraError, match="needs ftfy"):
        zoo.load(where)


def test_types_and_options(folder: Folder) -> None:
    where = f"diffusers:{folder('WanPipeline')}"
    half = zoo.load(where, dtype="bfloat16")
    assert half.spec.precision == "bfloat16"
    assert half.pipe.vae.dtype == torch.float32
    assert drawn(half, frames=1).x.dtype == torch.float32
    with pytest.raises(UsageError, match="without offlod") as caught:
        zoo.load(where, offlod="model")
    assert "did you mean 'offload'" in str(caught.value)
    with pytest.raises(UsageError, match="offload is 'disk'"):
        zoo.load(where, offload="disk")
    with pytest.raises(UsageError, match="loaded without options"):
        zoo.load("video/starter", dtype="bfloat16")


def test_a_subfolder_is_still_the_vae(folder: Folder) -> None:
    vae = zoo.load(f"diffusers:{folder('WanPipeline')}/vae")
    assert vae.spec.streams[0].channels == 4


def test_nothing_is_unpickled_and_no_code_is_run(folder: Folder, tmp_path: Path) -> None:
    def copy(name: str) -> tuple[Path, dict[str, object]]:
        shutil.copytree(folder("LTXPipeline"), tmp_path / name)
        return tmp_path / name, json.loads((tmp_path / name / "model_index.json").read_text())

    pickled, _ = copy("pickled")
    weights = pickled / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UnsafeFileError, match=r"weights of its transformer in \.bin"):
        zoo.load(f"diffusers:{pickled}")

    own, index = copy("own")
    (own / "model_index.json").write_text(
        json.dumps({**index, "_class_name": ["pipeline", "Mine"]})
    )
    with pytest.raises(UnsafeFileError, match=r"code of its own \(pipeline\.py\)"):
        zoo.load(f"diffusers:{own}")

    part = {**index, "transformer": ["mine", "Network"]}
    (own / "model_index.json").write_text(json.dumps(part))
    with pytest.raises(UnsafeFileError, match=r"takes its transformer from mine\.Network"):
        zoo.load(f"diffusers:{own}")

    (own / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    with pytest.raises(UsageError, match="makes no video that is known here"):
        zoo.load(f"diffusers:{own}")

    shutil.rmtree(own / "vae")
    with pytest.raises(NotFoundError, match="lacks its vae"):
        zoo.load(f"diffusers:{own}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer() as server, server.client():
        yield server


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
def test_a_pipeline_comes_from_the_hub_and_then_from_the_cache(
    hub: HubServer, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    whole = tmp_path / "whole"
    shutil.copytree(folder("LTXPipeline"), whole)
    (whole / "transformer" / "extra.bin").write_bytes(b"pickle")
    (whole / "pipeline.py").write_text("raise SystemExit")
    api = HfApi(endpoint=hub.endpoint)
    api.create_repo("me/tiny")
    api.upload_folder(repo_id="me/tiny", folder_path=whole)
    model = zoo.load("diffusers:me/tiny")
    assert model.name == "diffusers:me/tiny"
    assert torch.equal(drawn(model).x, drawn(loaded(folder("LTXPipeline"))).x)
    asked = [request.path for request in hub.requests]
    assert not [path for path in asked if path.endswith((".bin", ".py"))]
    api.create_repo("me/empty")
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        zoo.load("diffusers:me/empty")
    before = len(hub.requests)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert zoo.load("diffusers:me/tiny").spec == model.spec
    assert len(hub.requests) == before
