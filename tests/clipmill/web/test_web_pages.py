"""Every area opens without an error, from its address and from the bar."""

from __future__ import annotations

from typing import Any

import pytest

AREAS = ("/", "/bench", "/sources", "/runs", "/tokens", "/labels")


@pytest.mark.parametrize("address", AREAS)
def test_area_opens(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("#content .area > *").first.wait_for()
    assert page.locator("#areas a[aria-current=page]").get_attribute("href") == address
