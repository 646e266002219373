"""The probe battery: small models that each isolate one thing that a counter may count.

`PROBES` lists them by name, in order, without torch; `build` makes the model of one case. On the
command line a case is a model like any other: `probe:norm/batch_norm2d_affine?case=2`.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from flopaudit.core.errors import UsageError, unknown
from flopaudit.core.specs import ModelSpec, probe_case
from flopaudit.probes.definition import Case, Probe
from flopaudit.probes.layers import (
    activation,
    attention,
    conv,
    embedding,
    linear,
    norm,
    pool,
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

ALL: tuple[Probe, ...] = (
    *conv.PROBES,
    *linear.PROBES,
    *norm.PROBES,
    *activation.PROBES,
    *pool.PROBES,
    *resize.PROBES,
    *matmul.PROBES,
    *attention.PROBES,
    *recurrent.PROBES,
    *embedding.PROBES,
    *elementwise.PROBES,
    *reduction.PROBES,
    *movement.PROBES,
    *torchvision_layers.PROBES,
    *(timm_layers.PROBES if importlib.util.find_spec("timm") else ()),
    *nesting.PROBES,
    *subclass.PROBES,
    *whole_model.PROBES,
    *sharing.PROBES,
    *parameters.PROBES,
    *batch.PROBES,
)
PROBES: dict[str, Probe] = {probe.name: probe for probe in ALL}


def build(name: str, case: Case) -> torch.nn.Module:
    """The model of one case of a probe, with weights as torch's generator gives them."""
    from flopaudit.probes.root_models import ROOTS

    probe = PROBES[name]
    return ROOTS[probe.root](probe, case)


def find(found: ModelSpec) -> tuple[Probe, Case]:
    """What a spec of the source `probe` names.

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
    """How a case of a probe is named, as a model."""
    return ModelSpec("probe", name, options=f"case={case}" if case else "")
