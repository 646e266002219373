"""The models that tools are audited on, as plain data; imports no torch.

Those of this package are in `models.py`, each with something in it that tools stumble over.
"""

from __future__ import annotations

from dataclasses import dataclass

TASK = "audit"
"""What a worker is asked for."""

IMPORT, OTHERS = "import", "others"
CONDITIONS = {
    IMPORT: "the tool is imported, and not called",
    "eval": "in eval mode, on the CPU",
    "train": "in training mode",
    "mixed": "some modules in training mode, the others in eval mode",
    "meta": "in eval mode, on the meta device",
    OTHERS: "as for eval, and only what other tools say after it is looked at",
}
IMAGE = "1x3x32x32"
WORDS = "1x6x16"


@dataclass(frozen=True)
class Case:
    """A model and the conditions that it is handed to a tool in.

    Attributes:
        model: as on the command line.
        inputs: as on the command line; () for those that follow from the model.
        conditions: of `CONDITIONS`.
    """

    model: str
    inputs: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ("eval",)


def _made(name: str, inputs: str = IMAGE, conditions: tuple[str, ...] = ("eval",)) -> Case:
    return Case(f"flopaudit.audit.audit_models:{name}", (inputs,), conditions)


IMPORT_CASE = _made("plain", conditions=(IMPORT,))
"""The model that is there when a tool is only imported."""

CASES = (
    IMPORT_CASE,
    _made("plain", conditions=("eval", "train", "mixed", OTHERS)),
    _made("shared"),
    _made("reused"),
    _made("attention", WORDS),
    _made("linears", WORDS, conditions=("eval", "meta")),
    _made("frozen"),
    _made("buffers"),
    _made("hooked"),
    _made("uncopyable"),
    _made("watched"),
    _made("raises_between_modules"),
    _made("raises_between_functions"),
    Case("resnet18"),
    Case("vit_b_16", conditions=("eval", OTHERS)),
)
