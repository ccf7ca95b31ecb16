"""Bytes of JPEG and H.264 files as tokens."""

from __future__ import annotations

import io

import av
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo import create, preset
from zoo.errors import InputError, UsageError
from zoo.tokenizer import Tokenizer
from zoo.tokenizers.codec_bytes import END
from zoo.tokens import Tokens

CODECS = ("video/codec_jpeg_tiny", "video/codec_h264_tiny")


def footage(frames: int = 5, height: int = 48, width: int = 64, busy: float = 0.0) -> Tensor:
    """A soft blob that moves to the right, with noise on demand."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    blobs = [
        torch.exp(-((rows - height / 2) ** 2 + (columns - 16 - 4 * t) ** 2) / 120)
        for t in range(frames)
    ]
    clip = torch.stack(blobs).expand(3, -1, -1, -1) * 1.6 - 0.8
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    return (clip + busy * noise).clamp(-1, 1)[None]


@pytest.fixture(params=CODECS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return create(request.param)


def test_jpeg_lm_pictures_open_as_files_and_their_bytes_are_the_ids() -> None:
    tokenizer = create("video/codec_jpeg_tiny")
    tokens = tokenizer.encode(footage())
    assert tokens.ids.shape[:2] == (1, 5)
    files = tokenizer.files(tokens)[0]
    for row, file in zip(tokens.ids[0], files, strict=True):
        with Image.open(io.BytesIO(file)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 48))
        assert row[: len(file)].tolist() == list(file)
        assert set(row[len(file) :].tolist()) == {END}


def test_avc_lm_clips_open_as_files_and_their_bytes_are_the_ids() -> None:
    tokenizer = create("video/codec_h264_tiny")
    tokens = tokenizer.encode(footage())
    assert tokens.ids.shape[:2] == (1, 1)
    (file,) = tokenizer.files(tokens)[0]
    assert tokens.ids[0, 0].tolist() == [*file, END]
    with av.open(io.BytesIO(file)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_what_comes_back_looks_like_what_went_in(tokenizer: Tokenizer) -> None:
    clip = footage()
    error = (tokenizer.decode(tokenizer.encode(clip)) - clip).square().mean()
    assert float(error) < 4 / 10**3.5, "35 dB"


def test_equal_clips_give_equal_ids(tokenizer: Tokenizer) -> None:
    clip = footage(busy=0.3)
    assert torch.equal(tokenizer.encode(clip).ids, tokenizer.encode(clip.clone()).ids)


def test_clips_of_one_batch_may_take_different_numbers_of_bytes(tokenizer: Tokenizer) -> None:
    calm, busy = footage(), footage(busy=0.3)
    together = tokenizer.encode(torch.cat([calm, busy]))
    alone = tokenizer.encode(calm)
    assert tokenizer.files(together)[0] == tokenizer.files(alone)[0]
    assert alone.ids.shape[-1] < together.ids.shape[-1]
    assert torch.equal(tokenizer.decode(together)[:1], tokenizer.decode(alone))


def test_end_ids_behind_a_file_change_nothing(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(footage())
    longer = torch.nn.functional.pad(tokens.ids, (0, 100), value=END)
    stored = tokenizer.tokens({"tokens": longer}, tokens.size)
    assert torch.equal(tokenizer.decode(stored), tokenizer.decode(tokens))


def test_a_stream_of_pictures_gives_the_ids_of_the_whole() -> None:
    tokenizer = create("video/codec_jpeg_tiny")
    clip = torch.cat([footage(3), footage(3, busy=0.3)], dim=2)
    streamed = Tokens.join(list(tokenizer.encode_stream(clip.split(1, dim=2))))
    assert torch.equal(streamed.ids, tokenizer.encode(clip).ids)


def test_the_number_of_bytes_is_known_only_after_encoding(tokenizer: Tokenizer) -> None:
    spec = tokenizer.spec
    assert spec.stream("tokens").end == END
    assert spec.stream("tokens").dtype == "uint16"
    assert spec.grid((5, 48, 64))["tokens"][1] == 0
    with pytest.raises(UsageError, match="does not tell how many tokens"):
        spec.bits((5, 48, 64))


@pytest.mark.parametrize("name", CODECS)
def test_bytes_that_are_no_file_are_refused(name: str) -> None:
    tokenizer = create(name)
    frames = 5 if "jpeg" in name else 1
    noise = torch.full((1, frames, 40), 7)
    with pytest.raises(InputError, match="these bytes"):
        tokenizer.decode(tokenizer.tokens({"tokens": noise}, (5, 48, 64)))


def test_there_is_nothing_to_train(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="nothing to learn"):
        tokenizer(footage())


def test_the_published_settings_are_kept() -> None:
    assert preset("video/codec_jpeg.jpeg_lm").config.quality == 25
    assert preset("video/codec_h264.avc_lm").config.quality == 37
