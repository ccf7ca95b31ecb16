"""Models by address: shipped with the package, in a folder, or on the Hugging Face Hub.

    load("video/starter")                        shipped weights
    load("local-dir:runs/mine/model")            a folder that `save` wrote
    load("hf-hub:org/name@revision")             a repository that `push_to_hub` wrote
    load("diffusers:org/name")                   a pretrained video generator of diffusers
    load("diffusers:org/name:vae")               its VAE

Only `config.json`, `model.safetensors` and the card are ever fetched; the client's cache keeps them
by content hash, and `HF_HUB_OFFLINE=1` reads from it alone. The token comes from the environment or
`hf auth login`.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.artefact import CONFIG, WEIGHTS, read_config
from zoo.artefact import load as load_folder
from zoo.artefact import save as save_folder
from zoo.card import Facts
from zoo.errors import NotFoundError, UnsafeFileError, UsageError, ZooError, nearest
from zoo.generator import Generator
from zoo.registry import generators, presets
from zoo.tokenizer import Tokenizer

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["explained", "folder_of", "load", "load_tokenizer", "pull", "push", "shipped"]

SHIPPED = Path(__file__).parent / "pretrained"
_UNSAFE = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".tar")
_FILES = [CONFIG, WEIGHTS, "README.md", ".eval_results/*"]


def load_tokenizer(name: str) -> Tokenizer:
    """A tokenizer with trained weights, in eval mode."""
    scheme, _, rest = name.partition(":")
    if scheme == "diffusers":
        from zoo.adapters.diffusers import load_diffusers

        return load_diffusers(rest)
    model = load(name)
    if isinstance(model, Generator):
        raise UsageError(f"{name} is a generator", allowed="a tokenizer")
    return model


def load(name: str, **options: Any) -> Any:
    """A tokenizer or generator with trained weights, in eval mode.

    `options` are for models of diffusers: `dtype` and `tiling`; for generators also `device`,
    `offload` and `motion`.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "diffusers":
        return _load_diffusers(rest, options)
    if options:
        raise UsageError(
            f"{name} is loaded without options, not with {', '.join(options)}",
            allowed="options for models of diffusers: diffusers:ORG/NAME",
        )
    return load_folder(folder_of(name))


def _load_diffusers(address: str, options: dict[str, Any]) -> Any:
    """A generator where the address is a whole pipeline, else a VAE."""
    from zoo.adapters.pipeline_files import find_pipeline

    found = find_pipeline(address)
    load_it: Any
    known: tuple[str, ...]
    if found is None:
        from zoo.adapters.diffusers import load_diffusers as load_it

        known = ("dtype", "tiling")
    else:
        from zoo.adapters.pipeline_load import load_pipeline

        load_it, known = (
            partial(load_pipeline, found),
            ("dtype", "tiling", "device", "offload", "motion"),
        )
    for option in options:
        if option not in known:
            raise UsageError(
                f"diffusers:{address} is loaded without {option}",
                allowed=", ".join(known),
                hint=nearest(option, known),
            )
    return load_it(address, **options)


def folder_of(name: str) -> Path:
    """Where the files of a model are, fetched if need be."""
    scheme, _, rest = name.partition(":")
    if scheme == "local-dir":
        return Path(rest)
    if scheme == "hf-hub":
        return pull(rest)
    if name in shipped():
        return shipped()[name]
    raise _unknown(name)


def shipped() -> dict[str, Path]:
    """Weights that came with the package, by the name of their model."""
    folders = sorted(path.parent for path in SHIPPED.glob(f"*/{CONFIG}"))
    return {read_config(folder)["name"]: folder for folder in folders}


def pull(repo: str, folder: Path | None = None) -> Path:
    """Fetch a model from the Hub, into the client's cache or into `folder`; returns where it is."""
    repo_id, _, revision = repo.partition("@")
    with explained(f"fetching {repo_id}"):
        path = _api().snapshot_download(
            repo_id, revision=revision or None, allow_patterns=_FILES, local_dir=folder
        )
    found = Path(path)
    if not (found / WEIGHTS).exists():
        raise _not_ours(repo_id, revision)
    return found


def push(
    model: Tokenizer | Generator,
    repo: str,
    *,
    facts: Facts | None = None,
    private: bool = True,
    message: str = "",
) -> str:
    """Save a model and upload it as one commit; returns the address of the repository."""
    if facts and facts.forbids:
        raise ZooError(
            f"{model.name or model.family()} was trained on data whose licences forbid to give it "
            f"away: {'; '.join(facts.forbids)}",
            hint="train on sources that permit it, or correct their license_terms in the catalog",
        )
    api = _api()
    with tempfile.TemporaryDirectory() as folder:
        save_folder(model, Path(folder), facts)
        with explained(f"publishing {repo}"):
            address = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=address.repo_id,
                folder_path=folder,
                commit_message=message or f"Publish {model.name or model.family()}",
            )
    return str(address)


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="clipmill")


def _not_ours(repo: str, revision: str) -> ZooError:
    with explained(f"listing {repo}"):
        files = _api().list_repo_files(repo, revision=revision or None)
    unsafe = [file for file in files if file.endswith(_UNSAFE)]
    if unsafe:
        return UnsafeFileError(
            f"{repo} keeps its weights in {unsafe[0]}, which would have to run code to be read",
            allowed=f"{WEIGHTS} beside {CONFIG}",
            hint="convert it once: zoo.adapters.convert reads known layouts with weights only",
        )
    return NotFoundError(
        f"{repo} holds no model of clipmill",
        allowed=f"a repository with {CONFIG} and {WEIGHTS}",
        hint=f'a VAE of diffusers is loaded by "diffusers:{repo}"',
    )


def _unknown(name: str) -> NotFoundError:
    with_weights = list(shipped())
    if name in {**presets(), **generators()}:
        return NotFoundError(
            f"{name} comes without trained weights",
            allowed=", ".join(with_weights),
            hint=f'zoo.create("{name}") builds it with fresh ones; zoo.training.fit trains it; '
            'a pretrained VAE of diffusers is loaded by "diffusers:ORG/NAME"',
        )
    close = nearest(name, [*with_weights, *presets(), *generators()])
    readings = f'"hf-hub:{name}" on the Hub, "local-dir:{name}" on this disk' if "/" in name else ""
    return NotFoundError(
        f"no model is called {name!r}",
        allowed=f"{', '.join(with_weights)}; or {readings}"
        if readings
        else ", ".join(with_weights),
        hint=close or "zoo.list_models() names them all",
    )


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the Hub's client raises into errors that say what to do next."""
    from huggingface_hub import errors

    try:
        yield
    except ZooError:
        raise
    except errors.LocalEntryNotFoundError as error:
        raise NotFoundError(
            f"{doing} failed: it is not in the cache and the Hub cannot be reached",
            hint="connect, or unset HF_HUB_OFFLINE",
        ) from error
    except (errors.HTTPError, OSError, ValueError) as error:
        raise ZooError(f"{doing} failed: {_words(error)}", hint=_advice(error)) from error


def _advice(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "log in with `hf auth login` or set HF_TOKEN, with write access to publish"
    if status == 404:
        return "check the name; a private repository needs `hf auth login` or HF_TOKEN"
    return "run the same call again: what has arrived is not sent twice"


def _words(error: BaseException) -> str:
    """The first line, without the query strings of signed links."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", text)
