"""Training of any tokenizer: one loop, settings that fit in a file, exact resume.

    from zoo.training import Clips, Settings, Window, fit
    fit(zoo.create(name), Clips(arrays, Window(17, 64)), Settings(steps=1000), "runs/first")

Running the same line again continues where the run was stopped. `zoo.training.ray.fit_on_ray` runs
the same loop on several processes or GPUs.
"""

from __future__ import annotations

from zoo.training.data import Clips, Feed, FolderArrays, ReadFiles, Window
from zoo.training.loop import Outcome, fit
from zoo.training.settings import Adversarial, Losses, Settings

__all__ = [
    "Adversarial",
    "Clips",
    "Feed",
    "FolderArrays",
    "Losses",
    "Outcome",
    "ReadFiles",
    "Settings",
    "Window",
    "fit",
]
