"""Published results that the wheel carries: measured profiles, and settlements of common models.

`profiles`, `quick` and `torchvision` are links to the folders of `results/`, where each file is
stored once; the wheel holds copies of those that the program reads.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

SETTLED = ("quick", "torchvision")
"""Folders with settlements, in the order in which they are searched."""


def profiles() -> Traversable:
    """Return the folder of profiles, one JSON file for each tool, version and variant."""
    return resources.files(__name__) / "profiles"


def settlements() -> list[Traversable]:
    """Return the folders of settlements, each with a `settlements.jsonl`."""
    return [resources.files(__name__) / name for name in SETTLED]
