"""A measurement comes in, with the reference, the trace and the tool's profile; findings go out.

Findings say where a number differs from the reference, how much, and why. All amounts of one
measurement and one quantity add up to reported - reference; what no profile predicts is
`unexplained`, and comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from flopaudit.explain.known_issues import link
from flopaudit.explain.module_rows import short
from flopaudit.explain.reconcile import (
    UNIT,
    Account,
    Cause,
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

UNEXPLAINED = "unexplained"
PARAMS_UNCALLED = "parameters of modules that did not run"
PARAMS_UNSEEN = "parameters unseen"
PARAMS_FROZEN = "frozen parameters unseen"
PARAMS_AGAIN = "parameters counted again"
NO_PROFILE = "there is no profile of this tool and version: `flopaudit probe` measures one"
NO_TRACE = "what a tool could see of this model has not been recorded"
NOTHING_LEFT = "nothing is left over"


@dataclass(frozen=True)
class Known:
    """What a measurement is explained from.

    Attributes:
        reference: for the same model and inputs.
        trace: likewise; None where the model could not be traced.
        profile: of the tool in its version; None where none has been measured.
    """

    reference: Reference
    trace: Trace | None = None
    profile: Profile | None = None


def explain(measurement: Measurement, known: Known) -> list[Finding]:
    """All findings of one counted measurement; none for one that is not counted."""
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
        unit = Cause(UNIT, Fraction((factor - 1) * macs), "the tool counts FLOPs")
        rest = (measurement.reported or 0) - factor * macs
        return Account((unit,) if factor != 1 else (), rest, note)
    rows: dict[str, int] = {}
    for row in measurement.modules:
        rows[row.path] = rows.get(row.path, 0) + row.count
    said = ReportedCount(measurement.reported or 0, factor, rows)
    return account(said, macs, known.trace, known.profile)


def _as_findings(
    measurement: Measurement, found: Account, total: int, quantity: Quantity
) -> list[Finding]:
    """Put causes of a kind together, and what they do not account for at the head."""
    groups: dict[tuple[str, str, str], list[Cause]] = {}
    for cause in found.causes:
        groups.setdefault((cause.cause, cause.label, cause.formula), []).append(cause)
    exact = [sum((c.amount for c in causes), start=Fraction(0)) for causes in groups.values()]
    entries = [
        (key, amount, causes)
        for (key, causes), amount in zip(groups.items(), _whole(exact), strict=True)
    ]
    entries = [entry for entry in entries if entry[1]]
    rest = total - sum(amount for _, amount, _ in entries)
    entries.sort(key=lambda entry: (-abs(entry[1]), entry[0]))
    differ = found.rows if not rest else ()
    note = "; ".join(filter(None, (found.note, *differ[:1])))
    leftover = note or ("no cause is known" if rest else NOTHING_LEFT)
    return [
        _finding(measurement, quantity, UNEXPLAINED, rest, leftover, len(differ)),
        *(
            _finding(
                measurement,
                quantity,
                key[0],
                amount,
                _evidence(*key[1:], causes),
                0,
                _probe(causes),
                len({c.path for c in causes}),
                _issue(measurement, key[0], key[1]),
            )
            for key, amount, causes in entries
        ),
    ]


def _whole(amounts: Sequence[Fraction]) -> list[int]:
    """Whole numbers that add up as the amounts do: what one loses in rounding, the next has."""
    ends = [0, *map(floor, accumulate(amounts))]
    return [end - start for start, end in pairwise(ends)]


def _finding(  # noqa: PLR0913, PLR0917 - the fields of a record
    measurement: Measurement,
    quantity: Quantity,
    cause: str,
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


def _evidence(label: str, formula: str, causes: Sequence[Cause]) -> str:
    places = len({cause.path for cause in causes})
    what = f"{places} {label}" if places > 1 else label
    how = f"{formula} " if formula.endswith((" for", " of", ":")) else ""
    how = how or (f"{formula} in " if formula else "")
    first = f", first {causes[0].path}" if causes[0].path else ""
    return f"{how}{what}{first}"


def _probe(causes: Sequence[Cause]) -> str | None:
    return next((probe for cause in causes for probe in cause.probes), None)


def _issue(measurement: Measurement, cause: str, label: str) -> str | None:
    return link(measurement.tool, measurement.variant, cause, label)


# -- parameters ------------------------------------------------------------------------------------


def _params(measurement: Measurement, known: Known) -> Account:
    said, reference = measurement.params or 0, known.reference
    wanted = reference.params or 0
    if known.trace is None or known.profile is None:
        note = NO_TRACE if known.trace is None else NO_PROFILE
        return Account((), said - wanted, note)
    causes = tuple(_param_causes(known.trace, known.profile))
    predicted = predict_params(known.profile, known.trace)
    note = "" if predicted == said else f"{predicted:,} predicted" if predicted is not None else ""
    return Account(causes, said - wanted - int(sum(c.amount for c in causes)), note)


def _param_causes(trace: Trace, profile: Profile) -> Iterable[Cause]:
    of = profile.params.of
    if of == "trainable":
        for module in trace.modules:
            if module.trainable != module.params:
                amount = Fraction(module.trainable - module.params)
                yield Cause(PARAMS_FROZEN, amount, short(module.name), "", module.path)
    elif of in {"leaves", "by module"}:
        yield from _by_module(trace, profile)


def _by_module(trace: Trace, profile: Profile) -> Iterable[Cause]:
    told = {module.path: amount for module, amount in params_by_module(profile, trace)}
    covered = _covered(told, profile)
    for module in trace.modules:
        amount = told.get(module.path, 0)
        more = Fraction(amount - _params_due(module, covered, trace))
        if more:
            yield Cause(_why(module, more), more, short(module.name), "", module.path)


def _covered(told: dict[str, int], profile: Profile) -> frozenset[str]:
    """Modules that are counted with those inside them."""
    return frozenset(told) if profile.params.inside else frozenset()


def _params_due(module: ModuleSite, covered: frozenset[str], trace: Trace) -> int:
    """What is to be counted with a module: all inside it, nothing if that is counted around it."""
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


def _why(module: ModuleSite, more: Fraction) -> str:
    if more > 0:
        return PARAMS_AGAIN
    return PARAMS_UNSEEN if module.calls else PARAMS_UNCALLED
