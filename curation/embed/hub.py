"""Models of transformers as embedders, from the Hub or from a folder.

    create("hf:sentence-transformers/all-MiniLM-L6-v2")    captions: the mean of a text encoder
    create("hf:openai/clip-vit-base-patch32")              pictures and texts in one space
    create("hf:/models/siglip@REVISION")

What a model is follows from its config. Text encoders read captions. Pairs of an image or video and
a text tower (CLIP, SigLIP, X-CLIP, VideoPrism) embed both; encoders without texts (V-JEPA 2,
VideoMAE, DINOv2) only pictures. An encoder of images sees some pictures of a clip and their vectors
are averaged; one of videos sees as many as it was trained with. Pictures are the stored ones, so no
video is opened. Weights are safetensors, and no code of a repository is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from catalogs.errors import MissingExtraError, NotFoundError
from catalogs.ids import file_sha256, settings_hash
from curation.choose_frames import pictures
from curation.embed.base import Embedder, Item, Vectors, in_batches, unit

__all__ = ["Hub"]

FRAMES = 8
"""Pictures of a clip that an encoder of images sees."""
BATCH = 32
LONGEST_TEXT = 256
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PADDED_FULLY = ("siglip", "siglip2")
"""Trained on texts of one length, so that shorter ones must be filled up."""

Picture = NDArray[np.uint8]


class Hub(Embedder):
    """A model of transformers. Its config is read at once, its weights when they are needed."""

    serves = ()

    def __init__(self, address: str, *, batch: int = BATCH):
        """`address` is a repository or a folder, with `@revision` after it where one is wanted."""
        self._repo, _, wanted = address.partition("@")
        self._wanted = wanted or None
        self._config = self._loaded("AutoConfig")
        self._batch = batch
        self.needs = "pictures" if self._looks else "captions"
        if not self._looks:
            self.kinds = ("video", "image", "mocap")
        self.reads_text = not self._looks or hasattr(self._config, "text_config")
        self.name = _table_name(self._repo)
        self.revision = self._revision()

    @cached_property
    def _looks(self) -> bool:
        names = ("vision_config", "image_size", "crop_size")
        return any(hasattr(self._config, name) for name in names)

    @property
    def _vision(self) -> Any:
        return getattr(self._config, "vision_config", self._config)

    @property
    def _window(self) -> int | None:
        """Frames that an encoder of videos was trained with; None for one of images."""
        for name in ("num_frames", "frames_per_clip"):
            if count := getattr(self._vision, name, None):
                return int(count)
        return None

    # -- loading ---------------------------------------------------------------------------

    def _loaded(self, kind: str, **options: Any) -> Any:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError(
                "models of the Hub need transformers", hint="pip install 'clipmill[adapters]'"
            ) from error
        try:
            return getattr(transformers, kind).from_pretrained(
                self._repo, revision=self._wanted, trust_remote_code=False, **options
            )
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"no model at {self._repo}: {str(error).strip().partition(chr(10))[0]}",
                allowed="a repository of the Hub or a folder with config.json and safetensors",
            ) from error

    def _revision(self) -> str:
        """Of the weights, and of how pictures are chosen."""
        if Path(self._repo).is_dir():
            weights = sorted(Path(self._repo).glob("*.safetensors"))
            found = settings_hash({path.name: file_sha256(path) for path in weights})
        else:
            found = str(getattr(self._config, "_commit_hash", None) or self._wanted or "main")[:12]
        return f"{found}.{self._window or FRAMES}f" if self._looks else found

    @cached_property
    def _model(self) -> Any:
        import torch

        model = self._loaded("AutoModel", use_safetensors=True).eval().requires_grad_(False)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def _tokenizer(self) -> Any:
        return self._loaded("AutoTokenizer")

    @cached_property
    def _known(self) -> dict[str, Any]:
        """The numbers of the image processor, empty where the model brings none."""
        from transformers.image_processing_base import ImageProcessingMixin

        try:
            known, _ = ImageProcessingMixin.get_image_processor_dict(
                self._repo, revision=self._wanted
            )
        except OSError:
            return {}
        return dict(known)

    # -- embedding -------------------------------------------------------------------------

    def embed(self, items: Sequence[Item]) -> Vectors:
        if not self._looks:
            return self._where([" ".join(item.captions) for item in items], self.embed_texts)
        shown = [[item.rgb() for item in self._chosen(one)] for one in items]
        return self._where(shown, self._embed_pictures)

    def _chosen(self, item: Item) -> Any:
        return pictures(item.clip, count=self._window or FRAMES)

    def _where(self, inputs: Sequence[Any], work: Any) -> Vectors:
        """`work` on the inputs that hold something; NaN for the others."""
        filled = [k for k, one in enumerate(inputs) if one]
        if not filled:
            return np.full((len(inputs), 1), np.nan, np.float32)
        found, self._batch = in_batches([inputs[k] for k in filled], self._batch, work)
        vectors = np.full((len(inputs), found.shape[1]), np.nan, np.float32)
        vectors[filled] = found
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        import torch

        if not self.reads_text:
            return super().embed_texts(texts)
        config = getattr(self._config, "text_config", self._config)
        longest = min(int(getattr(config, "max_position_embeddings", LONGEST_TEXT)), LONGEST_TEXT)
        padded = "max_length" if self._config.model_type in _PADDED_FULLY else True
        given = self._tokenizer(
            list(texts), padding=padded, truncation=True, max_length=longest, return_tensors="pt"
        )
        given = {k: v.to(self._model.device) for k, v in given.items() if k != "token_type_ids"}
        with torch.no_grad():
            if hasattr(self._model, "get_text_features"):
                return _unit_rows(_pooled(self._model.get_text_features(**given)))
            tokens = self._model(**given).last_hidden_state
        mask = given["attention_mask"][..., None].to(tokens)
        return _unit_rows((tokens * mask).sum(1) / mask.sum(1).clamp(min=1))

    def _embed_pictures(self, clips: Sequence[Sequence[Picture]]) -> Vectors:
        import torch

        if self._window is None:
            flat = torch.stack([self._prepared(image) for clip in clips for image in clip])
            vectors = _unit_rows(self._seen(flat.to(self._model.device)))
            ends = np.cumsum([len(clip) for clip in clips])[:-1]
            return unit(np.stack([part.mean(axis=0) for part in np.split(vectors, ends)]))
        videos = torch.stack([self._video(clip, self._window) for clip in clips])
        return _unit_rows(self._watched(videos.to(self._model.device)))

    def _seen(self, images: Any) -> Any:
        import torch

        with torch.no_grad():
            if hasattr(self._model, "get_image_features"):
                return _pooled(self._model.get_image_features(pixel_values=images))
            return _pooled(self._model(pixel_values=images))

    def _watched(self, videos: Any) -> Any:
        """(B, T, 3, H, W) to (B, dims)."""
        import torch

        model = self._model
        with torch.no_grad():
            if hasattr(model, "get_video_features"):
                return _pooled(model.get_video_features(videos))
            if hasattr(model, "get_vision_features"):
                return _pooled(model.get_vision_features(videos))
            return _pooled(model(videos))

    def _video(self, clip: Sequence[Picture], window: int) -> Any:
        """As many frames as the encoder wants, repeated where the clip has fewer."""
        import torch

        at = ((np.arange(window) + 0.5) * len(clip) / window).astype(int)
        return torch.stack([self._prepared(clip[k]) for k in at])

    def _prepared(self, image: Picture) -> Any:
        """(3, H, W) at the size that the encoder wants, normalised by its own numbers."""
        import torch

        height, width = _pair(getattr(self._vision, "image_size", None) or self._vision.crop_size)
        if self._known.get("do_center_crop", False):
            image = _cropped(image, height / width)
        interpolation = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
        small = cv2.resize(image, (width, height), interpolation=interpolation)
        mean = np.array(self._known.get("image_mean", _MEAN), np.float32)
        deviation = np.array(self._known.get("image_std", _DEVIATION), np.float32)
        values = (small.astype(np.float32) / 255 - mean) / deviation
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _cropped(image: Picture, aspect: float) -> Picture:
    """The middle of a picture, `aspect` times as high as wide."""
    height, width = image.shape[:2]
    rows, columns = min(height, round(width * aspect)), min(width, round(height / aspect))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def _pooled(made: Any) -> Any:
    """(B, dims) of what a tower returns."""
    if getattr(made, "pooler_output", None) is not None:
        made = made.pooler_output
    elif hasattr(made, "last_hidden_state"):
        made = made.last_hidden_state
    return made.mean(1) if made.ndim == 3 else made


def _unit_rows(vectors: Any) -> Vectors:
    return unit(vectors.float().cpu().numpy())


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _table_name(repo: str) -> str:
    """The last part of an address as the name of a table."""
    last = Path(repo.rstrip("/")).name.lower()
    return re.sub(r"[^a-z0-9_.-]+", "-", last).lstrip(".-@") or "model"
