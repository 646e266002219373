"""A measurement and the reference come in; findings go out: where they differ, how much, and why.

The tool's own rows say where its number comes from; the ledger says what ran there. Each row is
compared with the part of the ledger it speaks of, and what it has too much or too little is named
by what ran. What the rows leave out of the tool's total was counted outside of modules, and is
explained by call forms, from rules measured on probes (`harness.probes`). All amounts of one
measurement add up to reported - reference; what is left over is `unexplained`, and comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Literal

from harness.explain import Rule, departures, fit, parts, work_of
from harness.schema import Finding, Measurement, ModuleRow, OperatorTotal, Reference, Status, Unit

UNEXPLAINED = "unexplained"
UNIT = "unit"
UNSEEN = "unseen"
PER_SAMPLE = "per sample"
COUNTED_AGAIN = "shared module counted again"
COUNTED_ONCE = "reused module counted once"
PARAMS_UNSEEN = "parameters unseen"
PARAMS_FROZEN = "frozen parameters unseen"
PARAMS_AGAIN = "parameters counted again"

FormRules = Mapping[str, Sequence[Rule]]
"""For each call form, the ways in which a tool was measured to count it outside of modules."""

ROUNDED = "rounded"
ROUNDED_DIGITS = (3, 4, 5, 6)
MAX_CHOICES = 4096


@dataclass(frozen=True)
class Difference:
    """One row's departure, before those of a kind are put together.

    `label` is what stands behind it, a module's class or a call form; `inputs` and `outputs` are
    elements, from which a formula can be found that fits all of a label.
    """

    cause: str
    amount: int
    label: str
    path: str = ""
    inputs: int = 0
    outputs: int = 0
    last_inputs: int = 0
    note: str = ""


@dataclass
class Scope:
    """A module's rows in the tool, one or one for each operator, and what the ledger has there."""

    row: ModuleRow
    others: list[ModuleRow] = field(default_factory=list)
    operators: list[OperatorTotal] = field(default_factory=list)
    params: int = 0
    trainable: int = 0


def explain(
    measurement: Measurement, reference: Reference, forms: FormRules | None = None
) -> list[Finding]:
    """All findings of one counted measurement; none for one that is not counted.

    Args:
        measurement: what a tool said.
        reference: the reference for the same model and inputs.
        forms: rules by call form for this tool, if they have been measured.
    """
    if measurement.status is not Status.COUNTED or measurement.reported is None:
        return []
    if reference.macs is None:
        return []
    found = _counts(measurement, reference, forms or {})
    findings = _as_findings(measurement, found, measurement.reported - reference.macs)
    if measurement.params is not None and reference.params is not None:
        params = list(_params(measurement, reference))
        total = measurement.params - reference.params
        findings += _as_findings(measurement, params, total, quantity="params")
    return findings


def _as_findings(
    measurement: Measurement,
    differences: Iterable[Difference],
    total: int,
    quantity: Literal["macs", "flops", "params"] | None = None,
) -> list[Finding]:
    """Put differences of a kind together, and what they do not account for at the head."""
    if quantity is None:
        quantity = "macs" if measurement.unit is Unit.MAC else "flops"
    groups: dict[tuple[str, str], list[Difference]] = {}
    for difference in differences:
        groups.setdefault((difference.cause, difference.label), []).append(difference)
    named = [
        (cause, sum(d.amount for d in group), _evidence(label, group))
        for (cause, label), group in groups.items()
    ]
    known = [entry for entry in named if entry[0] != UNEXPLAINED and entry[1]]
    rest = total - sum(amount for _, amount, _ in known)
    where = "; ".join(text for cause, _, text in named if cause == UNEXPLAINED)
    leftover = (UNEXPLAINED, rest, where if rest else "nothing is left over")
    known.sort(key=lambda entry: (-abs(entry[1]), entry))
    return [
        Finding(
            tool=measurement.tool,
            tool_version=measurement.tool_version,
            variant=measurement.variant,
            model=measurement.model,
            inputs=measurement.inputs,
            quantity=quantity,
            cause=cause,
            amount=amount,
            evidence=evidence,
        )
        for cause, amount, evidence in (leftover, *known)
    ]


def _evidence(label: str, group: list[Difference]) -> str:
    first = group[0]
    formula = _formula(group)
    places = len({difference.path for difference in group})
    where = f"{places} {label}" if places > 1 else label
    first_path = f", first {first.path}" if first.path else ""
    return f"{formula}{where}{first.note}{first_path}"


def _formula(group: list[Difference]) -> str:
    """What all of a group have in common: so much for each element, if that is so."""
    if not any(d.inputs or d.outputs for d in group):
        return ""
    if all(d.inputs == d.outputs for d in group):
        for elements, note in ((_all_calls, ""), (_last_call, " of the last call")):
            rule = fit([(0, elements(d), 0, d.amount) for d in group])
            if rule:
                return f"{rule.outputs} per element{note} in "
    rule = fit([(d.inputs, d.outputs, 0, d.amount) for d in group])
    return f"{rule} in " if rule else "no simple formula in "


def _all_calls(difference: Difference) -> int:
    return difference.outputs


def _last_call(difference: Difference) -> int:
    return difference.last_inputs


# -- counts ----------------------------------------------------------------------------------------


def _counts(
    measurement: Measurement, reference: Reference, forms: FormRules
) -> Iterator[Difference]:
    factor = 1 if measurement.unit is Unit.MAC else 2
    macs = reference.macs or 0
    if factor != 1:
        note = ": two FLOPs for each multiply-accumulate"
        yield Difference(UNIT, (factor - 1) * macs, "the tool counts FLOPs", note=note)
    scopes, again, elsewhere = _scopes(measurement, reference)
    yield from again
    for scope in scopes:
        yield from _row(scope, factor, reference.batch)
    if measurement.modules:
        yield from _not_in_rows(elsewhere, factor)
        outside = (measurement.reported or 0) - sum(row.count for row in measurement.modules)
        yield from _outside_modules(outside, reference.operators, forms)
    else:
        whole = ModuleRow(path="", type="model", count=measurement.reported or 0)
        yield from _row(Scope(whole, operators=list(reference.operators)), factor, reference.batch)


def _scopes(
    measurement: Measurement, reference: Reference
) -> tuple[list[Scope], list[Difference], list[OperatorTotal]]:
    """Each row with its part of the ledger; rows for a module that has one; operators in no row."""
    canonical = {alias: m.path for m in reference.modules for alias in (m.path, *m.aliases)}
    scopes: dict[str, Scope] = {}
    again: list[Difference] = []
    for row in measurement.modules:
        path = canonical.get(row.path, row.path)
        if path in scopes and scopes[path].row.path == row.path and row.operator:
            scopes[path].others.append(row)
        elif path in scopes:
            again.append(Difference(COUNTED_AGAIN, row.count, row.type, row.path))
        else:
            scopes[path] = Scope(row)
    elsewhere: list[OperatorTotal] = []
    for total in reference.operators:
        home = _home(total.path, scopes)
        (elsewhere if home is None else scopes[home].operators).append(total)
    for module in reference.modules:
        home = _home(module.path, scopes)
        if home is not None:
            scopes[home].params += module.params
            scopes[home].trainable += module.trainable
    return list(scopes.values()), again, elsewhere


def _home(path: str, scopes: Mapping[str, Scope]) -> str | None:
    """The module itself, or the nearest one around it, that has a row."""
    while path not in scopes:
        if not path:
            return None
        path = path.rpartition(".")[0]
    return path


def _row(scope: Scope, factor: int, batch: int) -> Iterator[Difference]:
    """What one module's rows have too much or too little."""
    ran, row = scope.operators, scope.row
    apart = [d for each in (row, *scope.others) for d in _without_products(each, ran)]
    yield from apart
    said = row.count + sum(other.count for other in scope.others) - sum(d.amount for d in apart)
    macs = factor * sum(total.macs for total in ran)
    if not macs:
        if said:
            yield _extra(row.model_copy(update={"count": said}), ran)
    elif said == 0:
        yield from _not_in_rows(ran, factor, row.type, row.path)
    else:
        yield from _products(scope, said, factor, batch)


def _without_products(row: ModuleRow, ran: Sequence[OperatorTotal]) -> Iterator[Difference]:
    """What a row of one operator says, where the reference has no products of that operator."""
    named = _named(row, ran)
    if row.count and named and not any(total.macs for total in named):
        yield _extra(row, named)


def _named(row: ModuleRow, ran: Sequence[OperatorTotal]) -> list[OperatorTotal]:
    return [total for total in ran if row.operator and _is_of(total, row.operator)]


def _products(scope: Scope, said: int, factor: int, batch: int) -> Iterator[Difference]:
    """Which products a module's rows count, and what beside them; the simplest reading first."""
    row = scope.row
    rounded = [d for each in (row, *scope.others) for d in _rounded(each, scope.operators, factor)]
    sample = Difference(PER_SAMPLE, said - said * batch, row.type, row.path, note=f": 1/{batch}")
    # Other work comes last: small amounts of it would fit many a number by chance.
    for others, aside in product((False, True), ([], [sample], rounded)):
        rest = said - sum(difference.amount for difference in aside)
        chosen = departures(rest, parts(scope.operators, factor), others=others)
        if chosen is not None:
            yield from aside
            for part in chosen:
                amount = -part.amount if part.usual else part.amount
                yield Difference(part.cause, amount, f"{part.what} in {row.type}", row.path)
            return
    macs = factor * sum(total.macs for total in scope.operators)
    yield _reused(scope, said, factor) or Difference(UNEXPLAINED, said - macs, row.type, row.path)


def _is_of(total: OperatorTotal, name: str) -> bool:
    """Whether an operator of the ledger is what a tool calls by that name."""
    wanted = name.rpartition(".")[2].strip("_")
    known = (total.form.rpartition(".")[2], total.operator.split(".")[1])
    return any(each.strip("_").startswith(wanted) for each in known if each)


def _rounded(row: ModuleRow, ran: Sequence[OperatorTotal], factor: int) -> Iterator[Difference]:
    """A tool's number that is the reference's, rounded in each execution to a few digits."""
    named = _named(row, ran)
    runs = sum(total.executions for total in named if total.macs)
    macs = factor * sum(total.macs for total in named)
    if not macs or macs % runs or row.count == macs:
        return
    for digits in ROUNDED_DIGITS:
        for scale in (1, 2):
            one = int(float(f"{scale * macs // runs:.{digits - 1}e}"))
            if runs * (one // scale) == row.count:
                label = f"{row.operator} in {row.type}"
                note = f": rounded to {digits} digits"
                yield Difference(ROUNDED, row.count - macs, label, row.path, note=note)
                return


def _extra(row: ModuleRow, ran: Sequence[OperatorTotal]) -> Difference:
    """A count where the reference has no products: named by the kind of what ran most there."""
    if not ran:
        return Difference(UNEXPLAINED, row.count, f"{row.type}, in which nothing ran", row.path)
    main = max(ran, key=lambda total: (total.flops_all, total.output_elements))
    last = main.input_elements_by_call[-1] if main.input_elements_by_call else main.input_elements
    label = f"{row.operator} in {row.type}" if row.operator else row.type
    return Difference(
        main.kind, row.count, label, row.path, main.input_elements, main.output_elements, last
    )


def _reused(scope: Scope, said: int, factor: int) -> Difference | None:
    """A row that holds just one call of a module that was called several times."""
    called_often = [total for total in scope.operators if total.macs_by_call]
    if len(called_often) != len([total for total in scope.operators if total.macs]):
        return None
    macs = factor * sum(total.macs for total in called_often)
    for bias in (0, 1):
        last = sum(
            factor * total.macs_by_call[-1] + bias * total.bias_adds_by_call[-1]
            for total in called_often
        )
        if last == said:
            note = ": its last call" + (" with bias" if bias else "")
            return Difference(COUNTED_ONCE, said - macs, scope.row.type, scope.row.path, note=note)
    return None


def _not_in_rows(
    operators: Iterable[OperatorTotal], factor: int, where: str = "", path: str = ""
) -> Iterator[Difference]:
    for total in operators:
        if total.macs:
            label = f"{work_of(total)} in {where or total.type}"
            yield Difference(UNSEEN, -factor * total.macs, label, path or total.path)


def _outside_modules(
    outside: int, operators: Sequence[OperatorTotal], forms: FormRules
) -> Iterator[Difference]:
    """What the total holds beyond the rows, by call form."""
    if not outside:
        return
    by_form: dict[str, list[OperatorTotal]] = {}
    for total in operators:
        by_form.setdefault(total.form, []).append(total)
    choices = [[(form, rule) for rule in forms[form]] for form in by_form if form in forms]
    for chosen in islice(product(*choices), MAX_CHOICES):
        if sum(_by_rule(rule, by_form[form]) for form, rule in chosen) == outside:
            for form, rule in chosen:
                yield from _counted_as_function(form, rule, by_form[form])
            return
    yield Difference(UNEXPLAINED, outside, "counted outside of modules")


def _by_rule(rule: Rule, totals: Sequence[OperatorTotal]) -> int:
    return sum(rule(t.input_elements, t.output_elements, t.macs) for t in totals)


def _counted_as_function(
    form: str, rule: Rule, totals: Sequence[OperatorTotal]
) -> Iterator[Difference]:
    """Products seen by their function after all, or work that the reference has no products for."""
    for total in totals:
        if total.macs and rule.macs:
            # Cancels what stands as unseen for the rows, under the same label.
            label = f"{work_of(total)} in {total.type}"
            yield Difference(UNSEEN, rule.macs * total.macs, label, total.path)
    rest = Rule(rule.inputs, rule.outputs)
    amount = _by_rule(rest, totals)
    main = max(totals, key=lambda total: (total.flops_all, total.output_elements))
    if amount:
        note = f": {rest}, measured on probes"
        yield Difference(main.kind, amount, f"{form} called as a function", note=note)


# -- parameters ------------------------------------------------------------------------------------


def _params(measurement: Measurement, reference: Reference) -> Iterator[Difference]:
    said, trainable = measurement.params or 0, reference.trainable_params
    if said == reference.params:
        return
    rows = [row for row in measurement.modules if row.params is not None]
    if rows and sum(row.params or 0 for row in rows) == said:
        yield from _params_by_row(measurement, reference)
    elif said == trainable and reference.params is not None:
        yield Difference(PARAMS_FROZEN, said - reference.params, "parameters without gradient")
    elif said == 0 and reference.params is not None:
        yield Difference(PARAMS_UNSEEN, -reference.params, "all parameters")


def _params_by_row(measurement: Measurement, reference: Reference) -> Iterator[Difference]:
    scopes, _, _ = _scopes(measurement, reference)
    with_row = {id(scope.row) for scope in scopes}
    for row in measurement.modules:
        if id(row) not in with_row and row.params:
            yield Difference(PARAMS_AGAIN, row.params, row.type, row.path)
    homes = {_canonical(scope.row.path, reference): scope for scope in scopes}
    for module in reference.modules:
        if module.params and _home(module.path, homes) is None:
            yield Difference(PARAMS_UNSEEN, -module.params, module.type, module.path)
    for scope in scopes:
        more = (scope.row.params or 0) - scope.params
        if more:
            cause = PARAMS_UNSEEN if more < 0 else PARAMS_AGAIN
            if scope.row.params == scope.trainable:
                cause = PARAMS_FROZEN
            yield Difference(cause, more, scope.row.type, scope.row.path)


def _canonical(path: str, reference: Reference) -> str:
    for module in reference.modules:
        if path in module.aliases:
            return module.path
    return path
