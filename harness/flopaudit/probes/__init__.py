"""The probes: small models that each isolate one thing that a tool may or may not count.

In: a probe and one of its cases. Out: its model (`build`). `PROBES` lists the probes by name, in
order, without importing torch. On the command line a case is a model like any other:
`probe:norm/batch_norm2d_affine?case=2`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from flopaudit.core.errors import UsageError, unknown
from flopaudit.core.specs import ModelSpec, probe_case
from flopaudit.probes.definition import Case, Probe
from flopaudit.probes.layers import (
    activation,
    attention,
    convolution,
    embedding,
    linear,
    normalisation,
    pooling,
    recurrent,
    resize,
    timm_layers,
    torchvision_layers,
)
from flopaudit.probes.operations import (
    elementwise,
    matmul,
    movement,
    reduction,
)
from flopaudit.probes.structure import (
    batch,
    nesting,
    parameters,
    sharing,
    subclass,
    whole_model,
)

if TYPE_CHECKING:
    import torch

__all__ = ["ALL", "PROBES", "Case", "Probe", "build", "find", "spec"]

_MODULES: tuple[ModuleType, ...] = (
    convolution,
    linear,
    normalisation,
    activation,
    pooling,
    resize,
    matmul,
    attention,
    recurrent,
    embedding,
    elementwise,
    reduction,
    movement,
    torchvision_layers,
    *((timm_layers,) if importlib.util.find_spec("timm") else ()),
    nesting,
    subclass,
    whole_model,
    sharing,
    parameters,
    batch,
)


def by_name(tables: Iterable[tuple[str, Iterable[Probe]]]) -> dict[str, Probe]:
    """Return all probes by name, in order.

    Args:
        tables: the probes of each module, with the module's name.

    Raises:
        ValueError: two probes have one name; the message gives both modules.
    """
    found: dict[str, Probe] = {}
    origins: dict[str, str] = {}
    for module, probes in tables:
        for probe in probes:
            if probe.name in found:
                raise ValueError(
                    f"The probe '{probe.name}' is defined twice, in {origins[probe.name]} and in "
                    f"{module}. Rename one of the two."
                )
            found[probe.name], origins[probe.name] = probe, module
    return found


PROBES: dict[str, Probe] = by_name((module.__name__, module.PROBES) for module in _MODULES)
ALL: tuple[Probe, ...] = tuple(PROBES.values())


def build(name: str, case: Case) -> torch.nn.Module:
    """Build the model of one case of a probe, with weights drawn from torch's generator."""
    from flopaudit.probes.root_models import ROOTS

    probe = PROBES[name]
    return ROOTS[probe.root](probe, case)


def find(found: ModelSpec) -> tuple[Probe, Case]:
    """Return the probe and the case that a spec of the source `probe` names.

    Raises:
        UsageError: there is no such probe, or it has no such case.
    """
    name, number = found.location, probe_case(found)
    if name not in PROBES:
        raise unknown("probe", name, PROBES, "`flopaudit models --source probe` lists them.")
    cases = PROBES[name].cases
    if number >= len(cases):
        raise UsageError(
            f"The probe '{name}' has no case {number}.", f"It has cases 0 to {len(cases) - 1}."
        )
    return PROBES[name], cases[number]


def spec(name: str, case: int = 0) -> ModelSpec:
    """Return the model spec of a case of a probe."""
    return ModelSpec("probe", name, options=f"case={case}" if case else "")
