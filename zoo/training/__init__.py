"""Training of any tokenizer or generator: one loop, settings that fit in a file, exact resume.

    from zoo.training import Clips, Settings, Window, fit
    fit(zoo.create(name), Clips(arrays, Window(17, 64)), Settings(steps=1000), "runs/first")
    fit_generator(generator, feed, GeneratorSettings(steps=1000), "runs/second")

Running the same line again continues where the run was stopped. `zoo.training.ray.fit_on_ray` runs
the same loop on several processes or GPUs.
"""

from __future__ import annotations

from zoo.training.data import Clips, Feed, FolderArrays, ReadFiles, Window
from zoo.training.generate import BatchFeed, fit_generator
from zoo.training.loop import fit
from zoo.training.run import Outcome
from zoo.training.settings import Adversarial, GeneratorSettings, Losses, Settings

__all__ = [
    "Adversarial",
    "BatchFeed",
    "Clips",
    "Feed",
    "FolderArrays",
    "GeneratorSettings",
    "Losses",
    "Outcome",
    "ReadFiles",
    "Settings",
    "Window",
    "fit",
    "fit_generator",
]
