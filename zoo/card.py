"""The card of a model: what it is, what it was made from, what was measured, what it is free for.

It is written from what is recorded, never by hand: the spec and its hash, the preset with its paper
and the paper's own numbers, and `Facts` that came with the weights. A model without facts says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import UsageError, nearest
from zoo.metrics.report import Report
from zoo.spec import TokenizerSpec

__all__ = ["EVALS", "Facts", "write_card"]

EVALS = ".eval_results/clipmill.yaml"
"""Where the Hub looks for results that it can put beside those of other models."""


@dataclass(frozen=True)
class Facts:
    """What no spec tells: `licence` of the weights (SPDX), `data` they were trained on, with its
    licences, `training` (settings and cost), `limits` to know before use, and measured `reports`.
    `forbids` says which licences of the data forbid to give the model away.
    """

    licence: str = ""
    data: tuple[str, ...] = ()
    training: Mapping[str, str | float] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()
    forbids: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "licence": self.licence,
            "data": list(self.data),
            "training": dict(self.training),
            "limits": list(self.limits),
            "reports": [report.to_json() for report in self.reports],
            "forbids": list(self.forbids),
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Facts:
        fields = cls.__dataclass_fields__
        for key in known:
            if key not in fields:
                raise UsageError(
                    f"a card has no fact {key!r}",
                    allowed=", ".join(fields),
                    hint=nearest(key, fields),
                )
        return cls(
            licence=known.get("licence", ""),
            data=tuple(known.get("data", ())),
            training=dict(known.get("training", {})),
            limits=tuple(known.get("limits", ())),
            reports=tuple(Report.from_json(report) for report in known.get("reports", ())),
            forbids=tuple(known.get("forbids", ())),
        )


def write_card(folder: Path) -> None:
    """Write `README.md`, and the results for the Hub, from the folder's `config.json`."""
    known = json.loads((folder / "config.json").read_text())
    facts = Facts.from_json(known["facts"])
    told = _of_tokenizer(known) if "spec" in known else _of_generator(known)
    parts = [_front_matter(known["name"], told.tags, facts), *_body(known["name"], told, facts)]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")
    _write_evals(folder, facts)


@dataclass(frozen=True)
class _Told:
    """What the cards of tokenizers and generators say differently."""

    tags: tuple[str, ...]
    summary: str
    usage: str
    contract: str


def _of_tokenizer(known: Mapping[str, Any]) -> _Told:
    spec = TokenizerSpec.from_json(known["spec"])
    kind = "discrete" if spec.discrete else "continuous"
    return _Told(
        ("tokenizer", spec.modality, kind), _summary(spec), _usage(spec), _contract(spec, known)
    )


def _of_generator(known: Mapping[str, Any]) -> _Told:
    space, source = known["config"]["space"], known["source"]
    asked = [f"`{c['name']}` ({c['kind']})" for c in known["config"]["conditions"]]
    made = "ids" if space["levels"] else "values"
    grid = " x ".join(map(str, space["grid"]))
    summary = (
        f"Makes {space['modality']}: {made} on a grid of {grid}"
        + (f", tokens of {source['name']}" if source else "")
        + f". It can be asked with {', '.join(asked) or 'nothing'}."
    )
    usage = (
        "```python\nimport zoo\n\n"
        'model = zoo.load("local-dir:.")       # this folder; "hf-hub:ORG/NAME" on the Hub\n'
        "made = model.sample(4, seed=1)\n```"
    )
    rows = {"family": f"{known['family']}, version {known['version']}"}
    if source:
        rows["tokenizer"] = f"{source['name']}, media of {tuple(source['size'])}"
        rows["its spec"] = f"`{source['spec_hash']}`"
        rows["its weights"] = f"sha256 `{source['weights_sha256']}`"
    rows["weights file"] = f"sha256 `{known['weights_file_sha256']}`"
    return _Told(("generator", space["modality"]), summary, usage, _table("Contract", rows))


def _front_matter(name: str, tags: tuple[str, ...], facts: Facts) -> str:
    data: dict[str, Any] = {"library_name": "clipmill", "tags": ["clipmill", *tags]}
    if facts.licence:
        data["license"] = facts.licence.lower()
    index = [entry for report in facts.reports for entry in report.to_model_index(name)]
    if index:
        results = [result for entry in index for result in entry["results"]]
        data["model-index"] = [{"name": name, "results": results}]
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---"


def _body(name: str, told: _Told, facts: Facts) -> list[str]:
    parts = [f"# {name}", told.summary, told.usage, told.contract]
    parts.append("## Made from\n\n" + (_bullets(facts.data) or "Nothing was recorded."))
    if facts.training:
        parts.append(_table("Training", facts.training))
    parts.append("## Measured")
    parts += [
        f"{report.task} on {report.dataset_name or report.dataset}:\n\n{report.to_markdown()}"
        for report in facts.reports
    ] or ["Nothing was recorded."]
    if facts.limits:
        parts.append("## Limits\n\n" + _bullets(facts.limits))
    licence = facts.licence or "No licence was recorded: ask before you use these weights."
    parts.append(f"## Licence\n\n{licence}")
    return parts


def _summary(spec: TokenizerSpec) -> str:
    time, rows, columns = spec.compression
    kind = "ids" if spec.discrete else "latents"
    streams = "; ".join(
        f"`{stream.name}`: "
        + (
            f"{' x '.join(map(str, stream.levels))} codes"
            if stream.discrete
            else f"{stream.channels} channels"
        )
        for stream in spec.streams
    )
    return (
        f"Turns {spec.modality} into {kind}, one position for {time} frames"
        + (f" of {rows}x{columns} pixels" if spec.layout == "BCTHW" else "")
        + f". {streams}."
    )


def _usage(spec: TokenizerSpec) -> str:
    return (
        "```python\nimport zoo\n\n"
        'tokenizer = zoo.load("local-dir:.")   # this folder; "hf-hub:ORG/NAME" on the Hub\n'
        f"tokens = tokenizer.encode(x)          # {spec.layout}\n"
        "again = tokenizer.decode(tokens)\n```"
    )


def _contract(spec: TokenizerSpec, known: Mapping[str, Any]) -> str:
    rows = {
        "family": f"{spec.family}, version {spec.version}",
        "layout": spec.layout,
        "values": _range(spec.value_range),
        "frames": str(spec.length),
        "frame rate": f"{spec.fps:g} frames a second" if spec.fps else "any",
        "causal, streaming": f"{_yes(spec.causal)}, {_yes(spec.streaming)}",
        "precision": spec.precision,
        "spec": f"`{known['spec_hash']}`",
        "weights file": f"sha256 `{known['weights_file_sha256']}`",
    }
    return _table("Contract", rows)


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"## {title}\n\n| what | value |\n|---|---|\n{lines}"


def _write_evals(folder: Path, facts: Facts) -> None:
    """Only results on data sets of the Hub can be compared there; others stay on the card."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = [
        EvalResultEntry(
            dataset_id=report.dataset,
            task_id=report.task,
            value=measurement.value,
            dataset_revision=report.revision,
            notes=f"{measurement.info.name}: {measurement.info.protocol}",
        )
        for report in facts.reports
        if report.revision
        for measurement in report.measurements
    ]
    if entries:
        path = folder / EVALS
        path.parent.mkdir(exist_ok=True)
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
        path.write_text(text)


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _range(limits: tuple[float, float] | None) -> str:
    return f"{limits[0]:g} to {limits[1]:g}" if limits else "as they are; normalised inside"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
