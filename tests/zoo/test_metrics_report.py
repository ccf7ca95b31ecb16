"""Reports: what the Hub reads, what people read, and back from JSON."""

from __future__ import annotations

import json

import pytest
import torch
from huggingface_hub import ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

import zoo.metrics
from zoo.errors import UsageError
from zoo.metrics import PSNR, CodebookUse, Measurement, MetricInfo, Report


def report() -> Report:
    psnr, use = PSNR(), CodebookUse((4,))
    reference = torch.zeros(3, 3, 2, 8, 8)
    psnr.update(reference, reference + torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1, 1, 1))
    use.update(torch.tensor([0, 1, 2]))
    filled = Report("reconstruction", "org/clips", split="test", revision="1a2b3c")
    filled.add(psnr.compute(), *use.measurements())
    return filled


def test_the_hub_reads_every_value_with_its_protocol() -> None:
    index = report().to_model_index("video/tiny")
    name, results = model_index_to_eval_results(index)
    assert name == "video/tiny"
    by_type = {result.metric_type: result for result in results}
    psnr = by_type["psnr"]
    assert psnr.metric_args["protocol"] == PSNR().info.protocol
    assert psnr.metric_args["clips"] == 3
    assert psnr.metric_args["interval_95"] > 0
    assert (psnr.dataset_type, psnr.dataset_split) == ("org/clips", "test")
    assert psnr.dataset_revision == "1a2b3c"
    assert by_type["codebook_usage"].metric_value == 75
    card = ModelCardData(model_name=name, eval_results=results)
    assert "mean over clips" in card.to_yaml()


def test_a_report_survives_json() -> None:
    filled = report()
    assert Report.from_json(json.loads(json.dumps(filled.to_json()))) == filled


def test_people_read_value_direction_and_protocol() -> None:
    table = report().to_markdown()
    assert "| dead_codes | 1 codes | lower | 3 tokens |" in table
    assert "± " in table
    assert table.count("\n") == 2 + 5


def test_a_metric_stands_once_for_each_protocol() -> None:
    filled = Report("reconstruction", "org/clips")
    first, second = (MetricInfo("psnr", "dB", True, protocol) for protocol in ("a", "b"))
    filled.add(Measurement(first, 30.0, 1, "clips"), Measurement(second, 31.0, 1, "clips"))
    with pytest.raises(UsageError, match="already"):
        filled.add(Measurement(first, 32.0, 1, "clips"))


def test_what_is_exported_exists() -> None:
    assert all(hasattr(zoo.metrics, name) for name in zoo.metrics.__all__)
