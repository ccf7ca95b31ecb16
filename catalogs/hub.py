"""The Hub's client as publishing and pulling use it: one address, and errors that help.

The token comes from the environment or from `hf auth login`; it is neither read nor kept here.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ClipmillError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["REPO_TYPE", "explained", "hub_api", "remote_file"]

REPO_TYPE = "dataset"
"""The Hub's word for repositories of data, be it a dataset or a catalog."""


def hub_api(endpoint: str | None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT"), library_name="clipmill")


def remote_file(api: HfApi, repo_id: str, path: str) -> bytes | None:
    from huggingface_hub.errors import EntryNotFoundError

    with tempfile.TemporaryDirectory() as folder:
        try:
            file = api.hf_hub_download(
                repo_id, path, repo_type=REPO_TYPE, local_dir=folder, cache_dir=f"{folder}/.cache"
            )
        except EntryNotFoundError:
            return None
        return Path(file).read_bytes()


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the Hub's client raises into errors that say what to do next."""
    from huggingface_hub import errors

    try:
        yield
    except ClipmillError:
        raise
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        status = _status(error)
        if status in (401, 403):
            hint = "log in with `hf auth login` or set HF_TOKEN, with write access to publish"
        elif status == 404:
            hint = "check the name; a private repository needs `hf auth login` or HF_TOKEN"
        else:
            hint = "run the same call again: what has arrived is not sent twice"
        raise ClipmillError(f"{doing} failed: {_words(error)}", hint=hint) from error


def _status(error: BaseException | None) -> int | None:
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def _words(error: BaseException) -> str:
    """What happened, without the query strings of signed links."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if error.__cause__ is not None and isinstance(error, RuntimeError):
        text += " " + _words(error.__cause__)
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", text)
