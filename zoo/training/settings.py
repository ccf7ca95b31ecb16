"""What a training run is told: strict dataclasses, from Python, YAML or JSON.

Everything here but the bookkeeping decides the outcome, so it is stored with every checkpoint and
a run is only continued under the settings it was begun with. A misspelt, mistyped or impossible
setting is refused before any work is done.

    Settings.read("run.yaml")
    Settings(steps=2000, losses=Losses(reconstruction="l1", velocity=0.5))
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zoo.errors import NotFoundError, UsageError, nearest

__all__ = [
    "BOOKKEEPING",
    "Adversarial",
    "Distillation",
    "GeneratorSettings",
    "Losses",
    "Settings",
    "Strict",
    "Training",
    "read_settings",
]

BOOKKEEPING = frozenset(
    {
        "checkpoint_blocks",
        "compile",
        "keep",
        "log_every",
        "peak_tflops",
        "sample_every",
        "save_every",
        "shard",
        "validate_every",
    }
)
"""Settings that may differ when a run is continued: they do not change its outcome."""


def _number(default: Any, *, least: float, most: float | None = None) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


def _choice(default: str, *others: str) -> Any:
    return field(default=default, metadata={"choices": (default, *others)})


class Strict:
    """Checks types, ranges and choices of a frozen dataclass on construction."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _checked_type(item.name, getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            _check_value(item.name, value, item.metadata)

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Self:
        """Settings of plain values by name."""
        fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in known:
            if name not in fields:
                raise UsageError(
                    f"{cls.__name__} has no setting {name!r}",
                    allowed=", ".join(fields),
                    hint=nearest(str(name), fields),
                )
        missing = [
            name
            for name, item in fields.items()
            if item.default is item.default_factory is dataclasses.MISSING and name not in known
        ]
        if missing:
            raise UsageError(f"{cls.__name__} lacks {', '.join(missing)}")
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class Losses(Strict):
    """Weights of what is added up; 0 leaves a term out."""

    reconstruction: str = _choice("l2", "l1", "huber")
    weight: float = _number(1.0, least=0)
    huber_delta: float = _number(0.1, least=1e-6)
    """Where the Huber loss turns from square to straight."""
    velocity: float = _number(0.0, least=0)
    """Of the difference between neighbouring frames."""
    joints: float = _number(0.0, least=0)
    """Of joint positions, for motion; needs the function that recovers them."""
    perceptual: float = _number(0.0, least=0)
    """Of features of single frames; needs the feature network."""
    family: dict[str, float] = field(default_factory=dict)
    """Overrides of the family's own `loss_weights`, by the loss's name."""


@dataclass(frozen=True, kw_only=True)
class Adversarial(Strict):
    """A discriminator of patches, trained against the tokenizer."""

    kind: str = _choice("hinge", "vanilla")
    dims: int = _number(2, least=1, most=3)
    """2 judges single frames, 3 judges clips, 1 judges sequences of motion."""
    weight: float = _number(0.1, least=0)
    start_step: int = _number(0, least=0)
    """The step from which the tokenizer feels it."""
    lead_steps: int = _number(0, least=0)
    """How many steps before `start_step` the discriminator begins to learn."""
    warmup_steps: int = _number(0, least=0)
    """Over how many steps the weight then rises from 0."""
    adaptive: bool = True
    """Scale the weight so that its gradient at the output is as strong as the reconstruction's."""
    gradient_penalty: float = _number(0.0, least=0)
    """Weight of the squared gradient at real clips (R1)."""
    lecam: float = _number(0.0, least=0)
    """Weight of the pull of the scores to their running means (LeCAM)."""
    width: int = _number(32, least=4)
    depth: int = _number(3, least=1, most=8)
    learning_rate: float = _number(2e-4, least=0)


@dataclass(frozen=True, kw_only=True)
class Training(Strict):
    """What every run is told."""

    steps: int = _number(dataclasses.MISSING, least=1)
    batch: int = _number(8, least=1)
    """Examples of one step, over all workers and accumulated parts."""
    accumulate: int = _number(1, least=1)
    """In how many parts a worker goes through its share of the batch, to save memory."""
    learning_rate: float = _number(1e-3, least=0)
    warmup_steps: int = _number(50, least=0)
    final_rate: float = _number(0.05, least=0, most=1)
    """Share of the learning rate that is left at the end of the cosine."""
    weight_decay: float = _number(1e-4, least=0)
    beta1: float = _number(0.9, least=0, most=0.9999)
    beta2: float = _number(0.95, least=0, most=0.99999)
    clip_norm: float = _number(1.0, least=0)
    """Longest gradient of a step; 0 leaves gradients as they are."""
    ema_decay: float = _number(0.999, least=0, most=0.999999)
    """Of the averaged weights, which are what the run results in; 0 for none."""
    precision: str = _choice("float32", "bfloat16")
    checkpoint_blocks: bool = False
    """Compute blocks again in the backward pass instead of keeping their activations."""
    seed: int = _number(0, least=0)
    log_every: int = _number(20, least=1)
    save_every: int = _number(500, least=1)
    sample_every: int = _number(0, least=0)
    """Pictures of what the model makes; 0 for none."""
    validate_every: int = _number(0, least=0)
    """Losses on examples that are not trained on, besides at the end; 0 for the end alone."""
    keep: int = _number(2, least=1)
    """How many checkpoints stay on disk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch % self.accumulate:
            raise UsageError(
                f"a batch of {self.batch} has no {self.accumulate} equal parts",
                hint="choose `accumulate` among the divisors of `batch`",
            )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Settings of a YAML or JSON file."""
        return cls.from_json(read_settings(path))


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """One training run of a tokenizer."""

    losses: Losses = field(default_factory=Losses)
    adversarial: Adversarial | None = None


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings(Training):
    """One training run of a generator."""

    compile: bool = False
    """Compile the losses with torch: slower to start, faster on a GPU."""
    shard: str = _choice("none", "fsdp")
    """Divide weights, gradients and moments among the workers, for models that one cannot hold."""
    peak_tflops: float = _number(0.0, least=0)
    """What the device could do, for the share of it that is used; 0 looks it up by name."""


@dataclass(frozen=True, kw_only=True)
class Distillation(Strict):
    """How a student learns to make in a few steps what its teacher makes in many."""

    teacher: str = ""
    """Where a recipe finds the teacher, as `zoo.load` takes it."""
    method: str = _choice("consistency", "distribution_matching", "adversarial")
    steps: int = _number(4, least=1, most=16)
    """Of the student."""
    guidance: float = _number(1.0, least=0)
    """Of the teacher; the student gives it without asking twice."""
    parts: int = _number(8, least=1)
    """Of `consistency`: in how many steps the teacher goes through one of the student's."""
    turns: int = _number(2, least=1)
    """Of the others: the student learns at every so-manieth step, the second network at each."""
    rival_rate: float = _number(1.0, least=0)
    """Learning rate of the second network, in that of the student."""
    penalty: float = _number(1.0, least=0)
    """Of `adversarial`: how much a judge's answers may hang on noise added to examples."""
    lesson: float = _number(0.0, least=0)
    """Of the others: weight of the family's own losses, which keep a student near the examples."""


def read_settings(path: str | Path) -> Mapping[str, Any]:
    """The plain values of a YAML or JSON file."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there are no settings at {path}")
    try:
        known = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is neither YAML nor JSON: {error}") from None
    if not isinstance(known, Mapping):
        raise UsageError(f"{path} holds no settings", allowed="`name: value` lines")
    return known


def _checked_type(name: str, value: Any, hint: Any) -> Any:
    """`value` as the declared type; nested settings may come as plain values."""
    if typing.get_origin(hint) is types.UnionType:
        if value is None:
            return None
        hint = next(item for item in typing.get_args(hint) if item is not types.NoneType)
    if hint is Any:
        return value
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        inner = typing.get_args(hint)[1]
        return {str(key): _checked_type(f"{name}.{key}", v, inner) for key, v in value.items()}
    hint = typing.get_origin(hint) or hint
    if isinstance(hint, type) and issubclass(hint, Strict) and isinstance(value, Mapping):
        return hint.from_json(value)
    if hint is float and type(value) is int:
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{name} is {value!r}", allowed=f"a value of type {hint.__name__}")
    return value


def _check_value(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    choices = limits.get("choices")
    if choices and value not in choices:
        raise UsageError(
            f"{name} is {value!r}", allowed=", ".join(choices), hint=nearest(value, choices)
        )
    least, most = limits.get("least"), limits.get("most")
    if least is not None and not (least <= value and (most is None or value <= most)):
        allowed = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
        raise UsageError(f"{name} is {value}", allowed=allowed)
