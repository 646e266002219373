"""Sharing: modules under several names or called several times, and tied parameters."""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    cut,
    layer,
    sized,
)

_CONVS = [cut((1, i, h, w), sizes=(i, i)) for i, h, w in
          ((2, 7, 9), (3, 8, 11), (5, 9, 6), (4, 5, 10), (7, 10, 8), (6, 7, 12))]  # fmt: skip
_LINEARS = [cut((n, i), sizes=(i, i)) for n, i in
            ((2, 3), (3, 5), (5, 4), (7, 2), (4, 7), (6, 11))]  # fmt: skip
_ONE = list(sized(IMAGES))


def _conv(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Conv2d(ins, outs, 3, padding=1)


def _linear(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs)


def _relu(torch: Any) -> Any:
    return torch.nn.ReLU()


def _two_names(inside: Make, *, both: bool) -> Make:
    def make(torch: Any, *sizes: Any) -> Any:
        from flopaudit.probes.structure import custom_modules

        return custom_modules.TwoNames(inside(torch, *sizes), both=both)

    return make


def _two_parents(inside: Make) -> Make:
    def make(torch: Any, *sizes: Any) -> Any:
        from flopaudit.probes.structure import custom_modules

        child = inside(torch, *sizes)
        return torch.nn.Sequential(custom_modules.Parent(child), custom_modules.Parent(child))

    return make


def _twice_in_sequence(inside: Make) -> Make:
    def make(torch: Any, *sizes: Any) -> Any:
        child = inside(torch, *sizes)
        return torch.nn.Sequential(child, torch.nn.Identity(), child)

    return make


def _tied(inside: Make, *names: str) -> Make:
    """Return a function that builds two layers that share these parameters."""

    def make(torch: Any, *sizes: Any) -> Any:
        first, second = inside(torch, *sizes), inside(torch, *sizes)
        for name in names:
            setattr(second, name, getattr(first, name))
        return torch.nn.Sequential(first, second)

    return make


_KINDS: dict[str, tuple[str, Make, list[Case]]] = {
    "conv2d": ("a Conv2d", _conv, _CONVS),
    "linear": ("a Linear", _linear, _LINEARS),
    "relu": ("a ReLU", _relu, _ONE),
}
_WAYS: dict[str, tuple[str, Any]] = {
    "two_names": ("under two names of one module", lambda make: _two_names(make, both=True)),
    "two_names_one_called": (
        "under two names, called by the second",
        lambda make: _two_names(make, both=False),
    ),
    "two_parents": ("in two modules", _two_parents),
    "twice_in_sequence": ("twice in a Sequential", _twice_in_sequence),
}

PROBES: tuple[Probe, ...] = (
    *(
        layer(f"sharing/{key}_{way}", f"{about} {words}", shared(make), cases)
        for key, (about, make, cases) in _KINDS.items()
        for way, (words, shared) in _WAYS.items()
    ),
    layer(
        "sharing/linear_tied_weights",
        "two Linears with one weight",
        _tied(_linear, "weight"),
        _LINEARS,
    ),
    layer(
        "sharing/linear_tied_wholly",
        "two Linears with one weight and one bias",
        _tied(_linear, "weight", "bias"),
        _LINEARS,
    ),
    layer(
        "sharing/conv2d_tied_weights", "two Conv2d with one weight", _tied(_conv, "weight"), _CONVS
    ),
)
