"""The cases of an audit: models, each with its conditions, as plain data; imports no torch.

The models of this package are in `audit_models`; each has a property that some tool fails on.
"""

from __future__ import annotations

from dataclasses import dataclass

TASK = "audit"
"""The name of the audit among the tasks of a worker process."""

IMPORT, OTHERS = "import", "others"
CONDITIONS = {
    IMPORT: "the tool is imported, and not called",
    "eval": "in eval mode, on the CPU",
    "train": "in training mode",
    "mixed": "some modules in training mode, the others in eval mode",
    "meta": "in eval mode, on the meta device",
    OTHERS: "as for eval, and only the results of other tools are compared before and after",
}
IMAGE = "1x3x32x32"
WORDS = "1x6x16"


@dataclass(frozen=True)
class Case:
    """A model and the conditions in which it is given to a tool.

    Attributes:
        model: the model spec, as on the command line.
        inputs: as on the command line; () for the usual inputs of the model.
        conditions: keys of `CONDITIONS`.
    """

    model: str
    inputs: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ("eval",)


def _audit_model(name: str, inputs: str = IMAGE, conditions: tuple[str, ...] = ("eval",)) -> Case:
    return Case(f"flopaudit.audit.audit_models:{name}", (inputs,), conditions)


IMPORT_CASE = _audit_model("plain", conditions=(IMPORT,))
"""The case in which a tool is only imported."""

CASES = (
    IMPORT_CASE,
    _audit_model("plain", conditions=("eval", "train", "mixed", OTHERS)),
    _audit_model("shared"),
    _audit_model("reused"),
    _audit_model("attention", WORDS),
    _audit_model("linears", WORDS, conditions=("eval", "meta")),
    _audit_model("frozen"),
    _audit_model("buffers"),
    _audit_model("hooked"),
    _audit_model("uncopyable"),
    _audit_model("watched"),
    _audit_model("raises_between_modules"),
    _audit_model("raises_between_functions"),
    Case("resnet18"),
    Case("vit_b_16", conditions=("eval", OTHERS)),
)
