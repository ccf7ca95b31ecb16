"""Codebook use over data sets whose code distribution is known."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.errors import InputError, UsageError, ZooError
from zoo.layers.quantizers import Fsq, MultiScale, Rvq, build
from zoo.metrics import CodebookUse, Measurement, split_codes


def measure(use: CodebookUse) -> dict[str, Measurement]:
    return {value.info.name: value for value in use.measurements()}


def test_planted_dead_codes() -> None:
    use = CodebookUse((8,))
    use.update(torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3]]))
    found = measure(use)
    assert found["codebook_usage"].value == 50
    assert found["codebook_perplexity"].value == pytest.approx(4)
    assert found["bits_per_token"].value == pytest.approx(2)
    assert found["dead_codes"].value == 4
    assert found["dead_codes"].count == 8
    assert found["codebook_usage"].parts == {"tokens_per_code": 1}


def test_an_uneven_distribution() -> None:
    use = CodebookUse((4,))
    use.update(torch.tensor([0] * 8 + [1] * 4 + [2] * 2 + [3] * 2))
    assert measure(use)["bits_per_token"].value == pytest.approx(1.75)


def test_the_data_set_is_not_the_mean_of_its_batches() -> None:
    use = CodebookUse((16,))
    for code in range(16):
        use.update(torch.full((4,), code))
    assert measure(use)["codebook_perplexity"].value == pytest.approx(16)


def test_levels_are_counted_apart() -> None:
    use = CodebookUse((4, 8))
    first, second = torch.arange(32) % 4, torch.arange(32) % 2
    use.update(torch.stack([first, second], 1).view(2, 4, 4, 2))
    found = measure(use)
    assert found["bits_per_token"].parts["level_0"] == pytest.approx(2)
    assert found["bits_per_token"].parts["level_1"] == pytest.approx(1)
    assert found["bits_per_token"].value == pytest.approx(1.5)
    assert found["codebook_perplexity"].value == pytest.approx(math.sqrt(4 * 2))
    assert found["codebook_usage"].value == pytest.approx((100 + 25) / 2)
    assert found["dead_codes"].parts["level_1"] == 6
    assert found["dead_codes"].count == 64
    assert found["dead_codes"].parts["tokens_per_code"] == 32 / 8
    assert use.counts(1).tolist() == [16, 16, 0, 0, 0, 0, 0, 0]


def test_scales_lie_one_after_the_other() -> None:
    use = CodebookUse((4, 4), positions=(1, 4))
    use.update(torch.tensor([[3, 0, 1, 2, 3], [3, 0, 1, 2, 3]]))
    assert use.counts(0).tolist() == [0, 0, 0, 2]
    assert use.counts(1).tolist() == [2, 2, 2, 2]
    assert measure(use)["bits_per_token"].parts["level_1"] == pytest.approx(2)
    with pytest.raises(UsageError, match="one for each level"):
        CodebookUse((4, 4), positions=(1,))


def test_a_quarter_of_a_million_codes() -> None:
    use = CodebookUse((2**18,))
    for part in torch.arange(0, 2**18, 2, dtype=torch.int32).split(50_000):
        use.update(part)
    found = measure(use)
    assert found["codebook_usage"].value == 50
    assert found["bits_per_token"].value == pytest.approx(17)


def test_a_product_code_too_large_to_count_is_counted_by_factor() -> None:
    with pytest.raises(UsageError, match="split_codes"):
        CodebookUse((2**36,))
    codes = torch.tensor([0, 2**36 - 1, 5 + 7 * 2**18])
    digits = split_codes(codes, (2**18, 2**18))
    assert digits.tolist() == [[0, 0], [2**18 - 1, 2**18 - 1], [5, 7]]
    use = CodebookUse((2**18, 2**18))
    use.update(digits)
    assert measure(use)["bits_per_token"].value == pytest.approx(math.log2(3))
    with pytest.raises(InputError, match="do not fit"):
        split_codes(torch.tensor([64]), (8, 8))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (torch.tensor([[0, 4]]), "padding"),
        (torch.tensor([[-1, 0]]), "padding"),
        (torch.tensor([[0.0, 1.0]]), "integer"),
        (torch.tensor([[0, 1, 2]]), "last axis"),
    ],
)
def test_wrong_ids_are_refused(ids: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError) as refused:
        CodebookUse((4, 4)).update(ids)
    assert said in str(refused.value)


def test_nothing_measured_is_said() -> None:
    with pytest.raises(ZooError, match="codebook_usage"):
        CodebookUse((4,)).measurements()


def test_ids_of_every_kind_of_quantizer_are_counted_by_level() -> None:
    for config in (
        Rvq(dim=8, size=16, depth=3),
        Fsq(dim=8),
        MultiScale(dim=8, size=16, scales=((1, 1), (2, 2), (4, 4))),
    ):
        quantizer = build(config)
        use = CodebookUse.of(quantizer)
        use.update(quantizer.encode(torch.randn(2, 4, 4, 8)))
        expected = [2, 8, 32] if quantizer.scales else [32] * len(quantizer.levels)
        assert [int(use.counts(level).sum()) for level in range(len(use.levels))] == expected
