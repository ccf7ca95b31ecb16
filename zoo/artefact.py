"""A model as a folder: `model.safetensors`, `config.json`, `README.md`.

Loading runs no code from the folder and unpickles nothing: weights are safetensors, the
architecture is a configuration of a family that this package brings. `config.json` records the
sha256 of the weights file and the spec with its hash; a folder whose bytes or whose spec differ is
refused, so that tokens are never read by a model that only looks like the one that made them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zoo.card import Facts, write_card
from zoo.config import config_from_json, config_to_json
from zoo.errors import NotFoundError, UnsafeFileError, UsageError, ZooError, nearest
from zoo.generator import Generator, Source
from zoo.spec import TokenizerSpec
from zoo.tokenizer import Tokenizer

__all__ = [
    "CONFIG",
    "FORMAT",
    "WEIGHTS",
    "load",
    "load_tokenizer",
    "read_config",
    "read_weights",
    "save",
    "tell",
]

FORMAT = 1
"""Raised when a folder written by this version can no longer be read by the one before."""

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save(model: Tokenizer | Generator, folder: Path, facts: Facts | None = None) -> Path:
    """Write the model to `folder`; `facts` are what its card tells."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    header = model.header if isinstance(model, Generator) else {}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", **header})
    known = {
        "format": FORMAT,
        "name": model.name or model.family(),
        "family": model.family(),
        "config": config_to_json(model.config),
        **_contract(model),
        "weights_file_sha256": _file_sha256(folder / WEIGHTS),
        "facts": (facts or Facts()).to_json(),
    }
    (folder / CONFIG).write_text(json.dumps(known, indent=2) + "\n")
    write_card(folder)
    return folder


def tell(folder: Path, facts: Facts) -> None:
    """Replace what the card of a folder tells."""
    known = {**read_config(folder), "facts": facts.to_json()}
    (folder / CONFIG).write_text(json.dumps(known, indent=2) + "\n")
    write_card(folder)


def _contract(model: Tokenizer | Generator) -> dict[str, Any]:
    """What a tokenizer's tokens are, or whose tokens a generator learned."""
    if isinstance(model, Generator):
        source = model.source.to_json() if model.source else None
        return {"version": model.version, "source": source}
    return {"spec": model.spec.to_json(), "spec_hash": model.spec.hash}


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder."""
    try:
        known = json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise NotFoundError(
            f"{folder} holds no model", allowed=f"a folder with {CONFIG} and {WEIGHTS}"
        ) from None
    except json.JSONDecodeError as error:
        raise UnsafeFileError(f"{folder / CONFIG} is not JSON: {error}") from None
    if known.get("format") != FORMAT:
        raise ZooError(
            f"{folder / CONFIG} has format {known.get('format')!r}",
            allowed=f"format {FORMAT}",
            hint="update clipmill, or convert the model with its adapter",
        )
    return known


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder."""
    model = load(folder)
    if isinstance(model, Generator):
        raise UsageError(f"{folder} holds a generator", allowed="a tokenizer")
    return model


def load(folder: Path) -> Tokenizer | Generator:
    """The model of a folder, after a check of its bytes and of its spec."""
    from zoo.registry import families

    known = read_config(folder)
    family = families().get(known["family"])
    if family is None:
        raise NotFoundError(
            f"{folder} is of family {known['family']!r}, which this version does not have",
            hint=_missing_family(known["family"], families()),
        )
    model = family(config_from_json(family.config_class, known["config"]))
    model.name = known["name"]
    model.load_state_dict(read_weights(folder, known["weights_file_sha256"]))
    model.eval()
    if isinstance(model, Generator):
        _check_version(model, known, folder)
        model.source = Source.from_json(known["source"]) if known["source"] else None
    else:
        _check_spec(model.spec, known, folder)
    return model


def _check_version(model: Generator, known: dict[str, Any], folder: Path) -> None:
    if model.version != known["version"]:
        raise ZooError(
            f"{folder} was saved by version {known['version']} of {model.family()}, this is "
            f"version {model.version}",
            hint="use the version of clipmill that saved it",
        )


def _missing_family(name: str, known: Iterable[str]) -> str:
    if name == "diffusers_vae":
        return "pip install 'clipmill[adapters]'"
    return nearest(name, known) or "update clipmill"


def read_weights(folder: Path, sha256: str) -> dict[str, Any]:
    """The tensors of a folder whose weights file has this hash."""
    path = folder / WEIGHTS
    if not path.exists():
        raise NotFoundError(f"{folder} holds no {WEIGHTS}")
    if _file_sha256(path) != sha256:
        raise UnsafeFileError(
            f"the bytes of {path} are not the ones that its {CONFIG} records",
            hint="download or save the model again",
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UnsafeFileError(f"{path} is not a safetensors file: {error}") from None


def _check_spec(spec: TokenizerSpec, known: dict[str, Any], folder: Path) -> None:
    if spec.hash == known["spec_hash"]:
        return
    written = known["spec"]
    changed = [key for key, value in spec.to_json().items() if value != written.get(key)]
    raise ZooError(
        f"{folder} was saved with spec {known['spec_hash'][:12]}, this version makes "
        f"{spec.hash[:12]} of it: {', '.join(changed)} differ",
        hint="use the version of clipmill that saved it, or save it again with this one",
    )


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
