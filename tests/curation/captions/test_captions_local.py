"""Captions from weights on this machine: a tiny random LLaVA, built here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.captions.base import Job, Picture, Window
from curation.captions.local import LocalCaptioner
from curation.captions.prompts import prompt
from curation.operators import Clip

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}"
)
WORDS = 64


@pytest.fixture(scope="module")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 20,000 random parameters with a processor that works on PIL pictures."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("llava")
    special = ["<pad>", "<s>", "</s>", "<image>", "<unk>"]
    words = [*special, *(f"w{n}" for n in range(WORDS - len(special)))]
    vocabulary = {word: number for number, word in enumerate(words)}
    level = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=level, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **small, num_hidden_layers=2, image_size=28, patch_size=14
        ),
        text_config=transformers.LlamaConfig(
            **small, vocab_size=WORDS, num_hidden_layers=1, num_key_value_heads=2,
            max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ),
        image_token_index=3,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = transformers.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return folder


def jobs(count: int, pictures: int = 2) -> Iterator[Job]:
    from PIL import Image

    for number in range(count):
        target = io.BytesIO()
        Image.new("RGB", (40, 30), (number * 40 % 255, 80, 120)).save(target, "JPEG")
        row = {"clip_id": f"{number:032x}", "duration_s": 2.0}
        shown = [Picture(0.5 + n, target.getvalue()) for n in range(pictures)]
        yield Job(Clip(row, {}), Window(0.0, 2.0), pictures=shown)


def captioner(folder: Path, tmp_path: Path, **options: Any) -> LocalCaptioner:
    made = LocalCaptioner(str(folder), prompt("brief", max_tokens=5), device="cpu", **options)
    made.setup(tmp_path)
    return made


def test_a_local_model_captions_in_batches(tiny_llava: Path, tmp_path: Path) -> None:
    made = captioner(tiny_llava, tmp_path, batch=2)
    answers = list(made.answers(jobs(3)))
    assert [job.clip.clip_id for job, _ in answers] == [f"{n:032x}" for n in range(3)]
    for _, answer in answers:
        (text,) = answer.texts
        assert text.kind == "brief"
        assert 1 <= len(text.text.split()) <= 5
        assert answer.tokens is not None
        assert answer.tokens > 10
    alone = captioner(tiny_llava, tmp_path, batch=1)
    again = [answer.texts[0].text for _, answer in alone.answers(jobs(3))]
    assert again == [answer.texts[0].text for _, answer in answers], "whatever the batch"
    assert made.name == f"hf:{tiny_llava.name}"
    assert len(made.revision) == 12


def test_a_batch_shrinks_when_memory_runs_out_and_the_row_says_so(
    tiny_llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = captioner(tiny_llava, tmp_path, batch=4)
    generate = made._model.generate
    sizes: list[int] = []

    def limited(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(made._model, "generate", limited)
    answers = list(made.answers(jobs(4)))
    assert sizes == [4, 2, 1, 1, 1, 1]
    notes = {answer.texts[0].evidence["note"] for _, answer in answers}
    assert notes == {"batch shrunk to 1"}


def test_one_window_too_many_is_a_problem_of_that_window(
    tiny_llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = captioner(tiny_llava, tmp_path)

    def never(**inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(made._model, "generate", never)
    ((_, answer),) = made.answers(jobs(1))
    assert not answer.texts
    assert "more memory" in str(answer.problem)
