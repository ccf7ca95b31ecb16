"""Embedders: what they see, what they cannot, and a job that goes on where it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs import Catalog
from catalogs.errors import ClipmillError, NotFoundError, UsageError
from catalogs.testing import Shot, render_video
from curation.embed import Embedder, EmbeddingError, Item, create, embed, embedder_of, in_batches
from curation.embed.job import EmbedJob, EmbedWorker
from curation.embed.terms import terms
from curation.embed.visual import Visual
from curation.embed.words import Words
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.operators.trial import clip_of_file

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
IMAGE = {**SMALL, "image_size": 32, "patch_size": 8}
TEXT = {**SMALL, "vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
KINDS = ("pan_left", "zoom_in", "slide_text", "shake")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shots")
    for kind in KINDS:
        for seed in (1, 2):
            render_video(folder / f"{kind}_{seed}.mp4", [Shot(kind, 36, seed=seed)])
    return folder


@pytest.fixture(scope="module")
def items(media: Path) -> dict[str, Item]:
    return {path.stem: Item(clip_of_file(path)) for path in sorted(media.iterdir())}


@pytest.fixture(scope="module")
def curated(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated") / "corpus"
    curate([media], folder, settings=MillSettings(operators=()), workers=0, progress=None)
    return folder


@pytest.fixture
def catalog(curated: Path, tmp_path: Path) -> Catalog:
    return Catalog.open(shutil.copytree(curated, tmp_path / "corpus"))


def caption(catalog: Catalog, texts: dict[str, str], kind: str = "brief") -> None:
    rows = [
        {"caption_id": f"{clip}{kind}", "clip_id": clip, "kind": kind, "text": text}
        for clip, text in texts.items()
    ]
    catalog.upsert("captions", rows)


def clips_of(catalog: Catalog) -> list[str]:
    return [row[0] for row in catalog.sql("select clip_id from clips order by 1").rows()]


# -- offline -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forms",
    ["walk walks walked walking walker", "pan pans panned panning", "move moves moved moving",
     "city cities", "fall falls falling", "jump jumping jumps"],
)  # fmt: skip
def test_forms_of_a_word_are_one_term(forms: str) -> None:
    assert len(set(terms(forms))) == 1


def test_unspaced_scripts_are_cut_into_pairs() -> None:
    assert terms("男人走路 a man") == ["男人", "人走", "走路", "a", "man"]


def test_texts_that_share_words_are_near_and_others_are_not() -> None:
    texts = [
        "a person walks slowly to the left",
        "somebody is walking left, slowly",
        "a bright city street at night",
        "a persn wallks slowly",
        "",
    ]
    vectors = Words().embed_texts(texts)
    alike = vectors[:4] @ vectors[:4].T
    assert alike[0, 1] > 0.4 > 0.1 > abs(alike[0, 2])
    assert alike[0, 3] > 0.3
    assert np.isnan(vectors[4]).all()
    np.testing.assert_array_equal(vectors[:4], Words().embed_texts(texts[:4]))


def test_clips_of_one_kind_look_alike(items: dict[str, Item]) -> None:
    vectors = Visual().embed(list(items.values()))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    names = list(items)
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -1)
    slide = names.index("slide_text_1")
    assert names[int(alike[slide].argmax())] == "slide_text_2"


def test_a_batch_shrinks_until_it_fits() -> None:
    seen: list[int] = []

    def work(batch: Any) -> Any:
        seen.append(len(batch))
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return np.array(batch, np.float32)[:, None]

    vectors, size = in_batches(list(range(5)), 8, work)
    assert vectors[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert size == 2
    assert seen == [5, 4, 2, 2, 1] or seen[-3:] == [2, 2, 1]
    with pytest.raises(RuntimeError, match="shape"):
        in_batches([1], 8, lambda _: (_ for _ in ()).throw(RuntimeError("wrong shape")))


def test_unknown_embedders_are_refused() -> None:
    with pytest.raises(NotFoundError, match="visual"):
        create("visul")
    with pytest.raises(UsageError, match="hf:"):
        create("hf:")
    with pytest.raises(NotFoundError, match="no model at"):
        create("hf:/nowhere/at/all")
    with pytest.raises(EmbeddingError, match="embeds no texts"):
        Visual().embed_texts(["a"])


# -- models of transformers ----------------------------------------------------------------


def saved(folder: Path, kind: str) -> Path:
    """A tiny random model with a tokenizer of a few words."""
    transformers = pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    frames = {"num_frames": 4}
    configs = {
        "bert": lambda: transformers.BertConfig(**SMALL, vocab_size=32),
        "clip": lambda: transformers.CLIPConfig(
            text_config=TEXT, vision_config=IMAGE, projection_dim=8
        ),
        "siglip": lambda: transformers.SiglipConfig(
            text_config={**TEXT, "projection_size": 16}, vision_config=IMAGE
        ),
        "xclip": lambda: transformers.XCLIPConfig(
            text_config=TEXT,
            vision_config={
                **IMAGE, **frames, "mit_hidden_size": 8, "mit_intermediate_size": 16,
                "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2,
            },
            projection_dim=8,
        ),
        "videoprism": lambda: transformers.VideoPrismConfig(
            text_config=TEXT,
            vision_config={
                "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
                "num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1,
                "image_size": 32, "tubelet_size": [1, 8, 8], **frames,
            },
        ),
        "vjepa2": lambda: transformers.VJEPA2Config(
            crop_size=32, patch_size=8, frames_per_clip=4, tubelet_size=2, hidden_size=16,
            num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, pred_hidden_size=16,
            pred_num_attention_heads=2, pred_num_hidden_layers=1,
        ),
        "videomae": lambda: transformers.VideoMAEConfig(**IMAGE, **frames, tubelet_size=2),
        "dinov2": lambda: transformers.Dinov2Config(**IMAGE),
    }  # fmt: skip
    target = folder / f"tiny-{kind}"
    transformers.AutoModel.from_config(configs[kind]()).save_pretrained(target)
    names = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "man", "walks", "dog", "runs"]
    tokenizer = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    ).save_pretrained(target)
    numbers = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": kind == "clip"}
    (target / "preprocessor_config.json").write_text(json.dumps(numbers))
    return target


@pytest.mark.parametrize(
    ("kind", "texts"),
    [("clip", True), ("siglip", True), ("xclip", True), ("videoprism", True), ("vjepa2", False),
     ("videomae", False), ("dinov2", False)],
)  # fmt: skip
def test_models_of_pictures_embed_clips_and_texts(
    kind: str, texts: bool, items: dict[str, Item], tmp_path: Path
) -> None:
    model = create(f"hf:{saved(tmp_path, kind)}")
    assert (model.name, model.needs, model.reads_text) == (f"tiny-{kind}", "pictures", texts)
    chosen = list(items.values())[:3]
    vectors = model.embed(chosen)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(model.embed(chosen[1:2])[0], vectors[1], atol=1e-5)
    if not texts:
        with pytest.raises(EmbeddingError):
            model.embed_texts(["a man"])
        return
    words = model.embed_texts(["a man walks", "a dog"])
    assert words.shape == (2, vectors.shape[1])
    np.testing.assert_allclose(model.embed_texts(["a dog"])[0], words[1], atol=1e-4)


def test_a_text_encoder_gives_the_mean_of_its_tokens(tmp_path: Path) -> None:
    model = create(f"hf:{saved(tmp_path, 'bert')}")
    assert (model.needs, model.reads_text) == ("captions", True)
    import torch
    import transformers

    encoder = transformers.AutoModel.from_pretrained(tmp_path / "tiny-bert").eval()
    with torch.no_grad():
        tokens = encoder(input_ids=torch.tensor([[1, 4, 5, 6, 2]])).last_hidden_state[0].mean(0)
    wanted = (tokens / tokens.norm()).numpy()
    np.testing.assert_allclose(model.embed_texts(["a man walks", "a"])[0], wanted, atol=1e-5)


def test_a_revision_names_the_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert")
    before = create(f"hf:{folder}").revision
    assert create(f"hf:{folder}").revision == before
    weights = next(folder.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert create(f"hf:{folder}").revision != before


# -- the job -------------------------------------------------------------------------------


def test_a_second_run_embeds_only_what_is_missing(catalog: Catalog) -> None:
    first = embed(catalog, "visual", where="uri like '%_1.mp4'", workers=0, progress=None)
    assert (first.status, first.embedded, first.present) == ("done", 4, 0)
    second = embed(catalog, "visual", workers=0, progress=None)
    assert (second.embedded, second.present) == (4, 4)
    third = embed(catalog, "visual", workers=0, progress=None)
    assert (third.embedded, third.present) == (0, 8)
    rows = catalog.refresh().sql("select vector from embeddings_visual").rows()
    vectors = np.array([row[0] for row in rows], np.float32)
    np.testing.assert_array_equal(vectors, vectors.astype(np.float16).astype(np.float32))
    runs = catalog.sql("select status from runs where verb = 'embed' and name = 'visual'").rows()
    assert runs == [("done",)] * 3


def test_a_caption_that_came_later_is_embedded_again(catalog: Catalog) -> None:
    one, other, *_ = clips_of(catalog)
    caption(catalog, {one: "a man walks", other: "a dog runs"})
    first = embed(catalog, "words", workers=0, progress=None)
    assert (first.embedded, first.without) == (2, 6)
    caption(catalog, {one: "it is raining"}, kind="detailed")
    second = embed(catalog, "words", workers=0, progress=None)
    assert (second.embedded, second.present, second.without) == (1, 1, 6)
    rows = catalog.refresh().sql("select clip_id from embeddings_words").rows()
    assert sorted(row[0] for row in rows) == sorted([one, other])
    vector = catalog.sql("select vector from embeddings_words where clip_id = ?", [one]).value()
    wanted = Words().embed_texts(["a man walks it is raining"])[0].astype(np.float16)
    np.testing.assert_array_equal(np.array(vector, np.float16), wanted)


def test_what_made_a_table_is_found_again(catalog: Catalog, tmp_path: Path) -> None:
    caption(catalog, {clips_of(catalog)[0]: "a man walks"})
    folder = saved(tmp_path, "bert")
    report = embed(catalog, f"hf:{folder}", workers=0, progress=None)
    assert report.embedded == 1
    again = embedder_of(catalog, "tiny-bert")
    assert (again.name, again.revision) == (report.model, report.revision)
    with pytest.raises(NotFoundError, match="nothing is recorded"):
        embedder_of(catalog, "unheard")


def test_workers_give_what_one_process_gives(catalog: Catalog, cluster: str) -> None:
    embed(catalog, "visual", workers=2, progress=None)
    stored = dict(catalog.refresh().sql("select clip_id, vector from embeddings_visual").rows())
    sources, clips, cutting = catalog.sql(
        "select list(distinct source_id), list(clip_id), any_value(cutting) from clips"
    ).rows()[0]
    worker = EmbedWorker("visual", catalog.storage.root)
    rows = worker.work(EmbedJob(tuple(sources), tuple(clips), cutting))
    assert len(stored) == 8
    assert dict(zip(rows["clip_id"].to_pylist(), rows["vector"].to_pylist(), strict=True)) == stored


def test_a_worker_that_always_fails_ends_with_the_reason(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Embedder, items: Any) -> Any:
        raise ClipmillError("the model is broken")

    monkeypatch.setattr(Visual, "embed", broken)
    with pytest.raises(ClipmillError, match="the model is broken"):
        embed(catalog, "visual", workers=0, progress=None)
    assert catalog.sql("select status from runs where verb = 'embed'").value() == "failed"
