"""Summary of a ledger: the totals by module and operator that findings need."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import (
    Ledger,
    ModuleEntry,
    OperatorRow,
    sum_work,
)


def summary(ledger: Ledger) -> dict[str, Any]:
    """Return the fields of a `schema.Reference` that come from the ledger, as plain data."""
    return {
        "device": ledger.device,
        "fallback": ledger.fallback,
        "macs": ledger.macs,
        "params": ledger.params,
        "trainable_params": ledger.trainable_params,
        "components": ledger.components(),
        "uncounted_ops": dict(ledger.uncounted_ops),
        "user_formulas": ledger.user_formulas,
        "data_dependent": ledger.data_dependent,
        "operators": list(_operators(ledger)),
        "modules": [_module(entry) for entry in ledger.modules],
    }


def _operators(ledger: Ledger) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[OperatorRow]] = {}
    for row in ledger.rows:
        key = (row.path, row.type, row.operator, row.form, row.kind)
        groups.setdefault(key, []).append(row)
    for (path, module_type, operator, syntax, kind), rows in groups.items():
        work = sum_work(rows)
        yield {
            "path": path,
            "type": module_type,
            "operator": operator,
            "form": syntax,
            "kind": kind,
            "executions": len(rows),
            "macs": work.macs,
            "macs_by_output": _by_output(rows, work.macs),
            "bias_adds": work.bias_adds,
            "flops_all": work.flops_all,
            "muls": work.muls,
            "elementary": work.elementary,
            "input_elements": sum(prod(row.inputs[0]) if row.inputs else 0 for row in rows),
            "output_elements": sum(prod(row.outputs[0]) if row.outputs else 0 for row in rows),
            **_by_call(rows),
        }


def _by_output(rows: list[OperatorRow], macs: int) -> int:
    """Return the products of convolutions if every output met every weight; 0 if the same."""
    if rows[0].kind != Kind.CONVOLUTION:
        return 0
    count = 0
    for row in rows:
        weight, out = row.inputs[1], row.outputs[0]
        positions = prod(out[-(len(weight) - 2) :])
        batch = out[0] if len(out) == len(weight) else 1
        count += batch * positions * prod(weight)
    return count if count != macs else 0


def _by_call(rows: list[OperatorRow]) -> dict[str, list[int]]:
    """Return the products of each call of a module that is called more than once."""
    calls = sorted({row.call for row in rows})
    if len(calls) == 1:
        return {}
    works = [sum_work(row for row in rows if row.call == call) for call in calls]
    return {
        "macs_by_call": [work.macs for work in works],
        "bias_adds_by_call": [work.bias_adds for work in works],
        "input_elements_by_call": [
            sum(prod(row.inputs[0]) if row.inputs else 0 for row in rows if row.call == call)
            for call in calls
        ],
    }


def _module(entry: ModuleEntry) -> dict[str, Any]:
    fields = ("path", "type", "calls", "params", "trainable")
    return {**{name: getattr(entry, name) for name in fields}, "aliases": list(entry.aliases)}
