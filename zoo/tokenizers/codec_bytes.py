"""Files as tokens: the bytes of JPEG pictures or of an H.264 stream, and an id that ends them.

JPEG-LM and AVC-LM train a language model on what ordinary codecs write, so there is nothing to
learn here and no weights: ids 0..255 are bytes, 256 ends a file. JPEG gives one file a frame,
(B, T, bytes); H.264 one file a clip, (B, 1, bytes). Files differ in length, so the axis of bytes is
open and shorter files are followed by end ids.

The settings of the encoders are fixed, and one thread works, so equal clips give equal ids on one
build of the codecs; another version of a codec may write other bytes, which decode all the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["END", "PRESETS", "CodecBytes", "Config"]

END = 256
"""The id behind the last byte of a file."""

_H264_RATE = 25
"""Frames a second that the stream is told; nothing that is coded depends on it."""


@dataclass(frozen=True)
class Config:
    """`quality` is that of JPEG (1 to 95), or the constant quantizer of H.264 (0 to 51, 0 best)."""

    codec: str
    quality: int
    size: tuple[int, int] | None = None


class CodecBytes(Tokenizer):
    """Frames to the bytes of files and back."""

    config_class = Config
    encode_side = ()
    trainable = False

    def __init__(self, config: Config):
        super().__init__(config)
        if config.codec not in _CODECS:
            raise UsageError(f"no codec is called {config.codec!r}", allowed=", ".join(_CODECS))

    def describe(self) -> TokenizerSpec:
        pictures = self.config.codec == "jpeg"
        stream = StreamSpec(
            axes=(Axis("bytes", stride=0),), step=1 if pictures else 0, levels=(END + 1,)
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, 1),
            streams=(stream,),
            size=self.config.size,
            multiple=1 if pictures else 2,
            value_range=(-1.0, 1.0),
            causal=pictures,
            streaming=pictures,
        )

    def files(self, tokens: Tokens) -> list[list[bytes]]:
        """The files of every clip: a picture a frame, or one stream."""
        return [[_file(row) for row in clip] for clip in tokens.ids]

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        frames = ((x[0].float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        write, _ = _CODECS[self.config.codec]
        files = write(frames.permute(1, 2, 3, 0).numpy(), self.config.quality)
        ids = torch.full((len(files), max(map(len, files)) + 1), END)
        for row, file in zip(ids, files, strict=True):
            row[: len(file)] = torch.frombuffer(bytearray(file), dtype=torch.uint8)
        return {"tokens": ids[None]}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        _, read = _CODECS[self.config.codec]
        frames = read([_file(row) for row in streams["tokens"][0]])
        if frames.shape[:3] != size:
            raise InputError(
                f"these bytes hold frames of {frames.shape[:3]}, not {size}",
                hint="tokens and size belong together: store the size beside the ids",
            )
        return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1

    def forward(self, x: Tensor) -> Reconstruction:
        raise UsageError(f"{self.name or self.family()} has nothing to learn")


def _file(row: Tensor) -> bytes:
    """The bytes before the first end id."""
    ends = (row == END).nonzero()
    kept = row[: int(ends[0])] if len(ends) else row
    return kept.to(device="cpu", dtype=torch.uint8).numpy().tobytes()


def _write_jpeg(frames: NDArray[Any], quality: int) -> list[bytes]:
    from PIL import Image

    files = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(
            buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False
        )
        files.append(buffer.getvalue())
    return files


def _read_jpeg(files: list[bytes]) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        return np.stack([np.array(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"these bytes are no JPEG picture: {error}") from None


def _write_h264(frames: NDArray[Any], quality: int) -> list[bytes]:
    """One elementary stream, without the note in which x264 signs its version and settings."""
    import av
    from av.bitstream import BitStreamFilterContext

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="h264") as container:
        stream = container.add_stream(
            "libx264",
            rate=_H264_RATE,
            options={"preset": "medium", "profile": "baseline", "qp": str(quality), "threads": "1"},
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        unsigned = BitStreamFilterContext("filter_units=remove_types=6", stream)
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(unsigned.filter(packet))
        for packet in stream.encode():
            container.mux(unsigned.filter(packet))
    return [buffer.getvalue()]


def _read_h264(files: list[bytes]) -> NDArray[Any]:
    import av

    try:
        with av.open(io.BytesIO(files[0]), format="h264") as container:
            container.streams.video[0].thread_count = 1
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"these bytes are no H.264 stream: {error}") from None
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


_Write = Callable[[NDArray[Any], int], list[bytes]]
_Read = Callable[[list[bytes]], NDArray[Any]]

_CODECS: dict[str, tuple[_Write, _Read]] = {
    "jpeg": (_write_jpeg, _read_jpeg),
    "h264": (_write_h264, _read_h264),
}

_JPEG_LM = (
    "JPEG-LM: LLMs as Image Generators with Canonical Codec Representations, arXiv:2408.08459"
)

PRESETS = (
    Preset("video/codec_jpeg_tiny", CodecBytes, Config("jpeg", quality=90), _JPEG_LM),
    Preset("video/codec_h264_tiny", CodecBytes, Config("h264", quality=18), _JPEG_LM),
    Preset(
        "video/codec_jpeg.jpeg_lm",
        CodecBytes,
        Config("jpeg", quality=25, size=(256, 256)),
        _JPEG_LM,
        tiny="video/codec_jpeg_tiny",
        serves=("jpeg-lm",),
    ),
    Preset(
        "video/codec_h264.avc_lm",
        CodecBytes,
        Config("h264", quality=37, size=(144, 256)),
        _JPEG_LM,
        tiny="video/codec_h264_tiny",
        serves=("jpeg-lm",),
    ),
)
