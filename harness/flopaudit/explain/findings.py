"""Findings: where, by how much and why a tool's number differs from the reference.

All amounts of one measurement and one quantity add up to reported - reference. What the tool's
profile does not predict is `unexplained`, and comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from flopaudit.core.causes import Cause
from flopaudit.explain.known_issues import link
from flopaudit.explain.module_rows import short
from flopaudit.explain.reconcile import (
    Account,
    Contribution,
    ReportedCount,
    account,
)
from flopaudit.profiles.prediction import params_by_module, predict_params
from flopaudit.profiles.tool_profile import Profile
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Quantity,
    Reference,
    Status,
    Unit,
)
from flopaudit.tracing.sites import ModuleSite, Trace

NO_PROFILE = "there is no profile of this tool and version: `flopaudit probe` measures one"
NO_TRACE = "what a tool could see of this model has not been recorded"
NOTHING_LEFT = "nothing is left over"


@dataclass(frozen=True)
class Known:
    """The known facts that explain a measurement.

    Attributes:
        reference: for the same model and inputs.
        trace: of the same model and inputs; None if the model could not be traced.
        profile: of the tool in its version; None if none has been measured.
    """

    reference: Reference
    trace: Trace | None = None
    profile: Profile | None = None


def explain(measurement: Measurement, known: Known) -> list[Finding]:
    """Explain one measurement.

    Args:
        measurement: of one tool on one model.
        known: what is known about the same model and tool.

    Returns:
        For each quantity, what is unexplained, then the causes by size; none if the tool or the
        reference did not count the model.
    """
    reference = known.reference
    if measurement.status is not Status.COUNTED or measurement.reported is None:
        return []
    if reference.macs is None:
        return []
    found = _counts(measurement, known)
    total = measurement.reported - reference.macs
    quantity: Quantity = "macs" if measurement.unit is Unit.MAC else "flops"
    findings = _as_findings(measurement, found, total, quantity)
    if measurement.params is not None and reference.params is not None:
        params = _params(measurement, known)
        findings += _as_findings(
            measurement, params, measurement.params - reference.params, "params"
        )
    return findings


def _counts(measurement: Measurement, known: Known) -> Account:
    factor = 1 if measurement.unit is Unit.MAC else 2
    macs = known.reference.macs or 0
    if known.trace is None or known.profile is None:
        note = NO_TRACE if known.trace is None else NO_PROFILE
        unit = Contribution(Cause.UNIT, Fraction((factor - 1) * macs), "the tool counts FLOPs")
        rest = (measurement.reported or 0) - factor * macs
        return Account((unit,) if factor != 1 else (), rest, note)
    rows: dict[str, int] = {}
    for row in measurement.modules:
        rows[row.path] = rows.get(row.path, 0) + row.count
    reported = ReportedCount(measurement.reported or 0, factor, rows)
    return account(reported, macs, known.trace, known.profile)


def _as_findings(
    measurement: Measurement, found: Account, total: int, quantity: Quantity
) -> list[Finding]:
    """Add up contributions that are alike, and put what they do not account for first."""
    groups: dict[tuple[Cause, str, str], list[Contribution]] = {}
    for part in found.contributions:
        groups.setdefault((part.cause, part.label, part.formula), []).append(part)
    exact = [sum((part.amount for part in parts), start=Fraction(0)) for parts in groups.values()]
    entries = [
        (key, amount, parts)
        for (key, parts), amount in zip(groups.items(), _whole(exact), strict=True)
    ]
    entries = [entry for entry in entries if entry[1]]
    rest = total - sum(amount for _, amount, _ in entries)
    entries.sort(key=lambda entry: (-abs(entry[1]), entry[0]))
    differ = found.rows if not rest else ()
    note = "; ".join(filter(None, (found.note, *differ[:1])))
    evidence = note or ("no cause is known" if rest else NOTHING_LEFT)
    return [
        _finding(measurement, quantity, Cause.UNEXPLAINED, rest, evidence, len(differ)),
        *(
            _finding(
                measurement,
                quantity,
                key[0],
                amount,
                _evidence(*key[1:], parts),
                0,
                _probe(parts),
                len({part.path for part in parts}),
                _issue(measurement, key[0], key[1]),
            )
            for key, amount, parts in entries
        ),
    ]


def _whole(amounts: Sequence[Fraction]) -> list[int]:
    """Round amounts to whole numbers with the same sum: each rounding error moves to the next."""
    ends = [0, *map(floor, accumulate(amounts))]
    return [end - start for start, end in pairwise(ends)]


def _finding(  # noqa: PLR0913, PLR0917 - the fields of a record
    measurement: Measurement,
    quantity: Quantity,
    cause: Cause,
    amount: int,
    evidence: str,
    rows: int = 0,
    probe: str | None = None,
    modules: int = 0,
    issue: str | None = None,
) -> Finding:
    return Finding(
        tool=measurement.tool,
        tool_version=measurement.tool_version,
        variant=measurement.variant,
        model=measurement.model,
        inputs=measurement.inputs,
        quantity=quantity,
        cause=cause,
        amount=amount,
        evidence=evidence,
        rows_that_differ=rows,
        probe=probe,
        modules=modules,
        issue=issue,
    )


def _evidence(label: str, formula: str, parts: Sequence[Contribution]) -> str:
    places = len({part.path for part in parts})
    what = f"{places} {label}" if places > 1 else label
    how = f"{formula} " if formula.endswith((" for", " of", ":")) else ""
    how = how or (f"{formula} in " if formula else "")
    first = f", first {parts[0].path}" if parts[0].path else ""
    return f"{how}{what}{first}"


def _probe(parts: Sequence[Contribution]) -> str | None:
    return next((probe for part in parts for probe in part.probes), None)


def _issue(measurement: Measurement, cause: Cause, label: str) -> str | None:
    return link(measurement.tool, measurement.variant, cause, label)


# -- parameters ------------------------------------------------------------------------------------


def _params(measurement: Measurement, known: Known) -> Account:
    reported, wanted = measurement.params or 0, known.reference.params or 0
    if known.trace is None or known.profile is None:
        note = NO_TRACE if known.trace is None else NO_PROFILE
        return Account((), reported - wanted, note)
    parts = tuple(_param_contributions(known.trace, known.profile))
    predicted = predict_params(known.profile, known.trace)
    note = "" if predicted is None or predicted == reported else f"{predicted:,} predicted"
    return Account(parts, reported - wanted - int(sum(part.amount for part in parts)), note)


def _param_contributions(trace: Trace, profile: Profile) -> Iterable[Contribution]:
    of = profile.params.of
    if of == "trainable":
        for module in trace.modules:
            if module.trainable != module.params:
                amount = Fraction(module.trainable - module.params)
                yield Contribution(Cause.PARAMS_FROZEN, amount, short(module.name), "", module.path)
    elif of in {"leaves", "by module"}:
        yield from _by_module(trace, profile)


def _by_module(trace: Trace, profile: Profile) -> Iterable[Contribution]:
    counted = {module.path: amount for module, amount in params_by_module(profile, trace)}
    covered = _covered(counted, profile)
    for module in trace.modules:
        amount = counted.get(module.path, 0)
        more = Fraction(amount - _params_due(module, covered, trace))
        if more:
            yield Contribution(_why(module, more), more, short(module.name), "", module.path)


def _covered(counted: dict[str, int], profile: Profile) -> frozenset[str]:
    """Return the modules that are counted together with those inside them."""
    return frozenset(counted) if profile.params.inside else frozenset()


def _params_due(module: ModuleSite, covered: frozenset[str], trace: Trace) -> int:
    """Return the parameters due at a module: none if an outer module is counted with them."""
    if _is_covered(module, covered):
        return 0
    return module.params + (_params_inside(module, trace) if module.path in covered else 0)


def _is_covered(module: ModuleSite, covered: frozenset[str]) -> bool:
    path = module.path
    while path:
        path = path.rpartition(".")[0]
        if path in covered:
            return True
    return False


def _params_inside(module: ModuleSite, trace: Trace) -> int:
    prefix = f"{module.path}." if module.path else ""
    return sum(m.params for m in trace.modules if m.path.startswith(prefix) and m.path)


def _why(module: ModuleSite, more: Fraction) -> Cause:
    if more > 0:
        return Cause.PARAMS_COUNTED_AGAIN
    return Cause.PARAMS_UNSEEN if module.calls else Cause.PARAMS_UNCALLED
