"""`flopaudit settle --claim`: find the interpretations of a model that give claimed numbers.

Variants of the model are counted in the order of their cost, and only as long as they could change
the answer to one of the claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from flopaudit.claims.interpretations import interpretations_of
from flopaudit.claims.parsing import Claim
from flopaudit.claims.search import (
    DRAWS,
    LOOKED_CHANCE,
    MARGIN_COST,
    SETTLED_CHANCE,
    Answer,
    Fit,
    Interpretation,
    Search,
    answer,
)
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import has_own_values
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.ledger import Ledger
from flopaudit.reports import certainty

SHOWN = 5


@dataclass(frozen=True)
class SettledClaims:
    """The answers to all claims about one model.

    Attributes:
        request: the model and its usual input.
        reference: the reference's multiply-accumulates and parameters.
        answers: one for each claim.
        skipped: the variants that could not be counted, with the reason.
        holds_for: sentences on the values of the input and on users' formulas, if they matter.
    """

    request: ModelRequest
    reference: dict[str, int]
    answers: tuple[Answer, ...]
    skipped: dict[str, str]
    holds_for: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return one object with stable keys."""
        return {
            "model": str(self.request.spec),
            "inputs": list(self.request.inputs),
            "reference": self.reference,
            "claims": [each.to_json() for each in self.answers],
            "skipped": self.skipped,
            "holds_for": list(self.holds_for),
        }

    def lines(self) -> Iterator[str]:
        """Yield the answers as lines of text."""
        macs, params = self.reference["macs"], self.reference["params"]
        inputs = " + ".join(self.request.inputs)
        yield f"{self.request.spec} · {inputs} · reference {macs:,} MACs, {params:,} params"
        yield from self.holds_for
        for each in self.answers:
            yield ""
            yield from lines_of(each)


def settle_claims(
    request: ModelRequest, claims: Sequence[Claim], extra: Iterable[Interpretation] = ()
) -> SettledClaims:
    """Count the model and the variants that may matter, and answer the claims.

    Args:
        request: the model.
        claims: at least one.
        extra: more interpretations, such as the numbers of tools.

    Raises:
        UsageError: the model does not exist, does not accept its inputs, or has an operator without
            a formula while a number of operations is claimed.
    """
    from flopaudit.claims.model_variants import VariantCounter

    variants = VariantCounter(request)
    usual = variants.as_it_is()
    _refuse_lower_bound(usual.ledger, claims)
    interpretations = [*interpretations_of(usual), *extra]
    answers: dict[Claim, Answer] = {}
    for cost, pending_counts in groupby(
        variants.pending_counts(), key=lambda pending: pending.cost
    ):
        # Each claim is answered as early as possible: its answer must not depend on other claims.
        done = [c for c in claims if c not in answers and _is_done(c, interpretations, cost)]
        answers.update(zip(done, answer(done, interpretations), strict=True))
        if len(answers) == len(claims):
            break
        for counted in filter(None, (pending.count() for pending in pending_counts)):
            interpretations += interpretations_of(counted)
    rest = [claim for claim in claims if claim not in answers]
    answers.update(zip(rest, answer(rest, interpretations), strict=True))
    reference = {"macs": usual.ledger.macs, "params": usual.ledger.params}
    holds_for = (
        *certainty.formulas(usual.ledger.user_formulas),
        *certainty.dependence(
            usual.ledger.data_dependent,
            own_values=has_own_values(request.inputs),
        ),
    )
    found = tuple(answers[claim] for claim in claims)
    return SettledClaims(request, reference, found, variants.skipped, holds_for)


def _refuse_lower_bound(ledger: Ledger, claims: Iterable[Claim]) -> None:
    """Refuse claims on operations where the reference does not count all of them.

    Raises:
        UsageError: there is such a claim.
    """
    for claim in claims:
        if ledger.lower_bound and claim.quantity == "operations":
            why = certainty.no_formula(ledger.uncounted_ops)
            raise UsageError(
                f"'{claim.text}' cannot be explained: the model does at least {ledger.macs:,} "
                f"MACs, but {why}.",
                certainty.remedy(ledger.uncounted_ops),
            )


def _is_done(claim: Claim, interpretations: Sequence[Interpretation], cost: float) -> bool:
    """Whether interpretations of this cost or more cannot change the answer to a claim."""
    search = Search(claim, interpretations)
    fits = search.fits(claim.digits, claim.power)
    if fits and fits[0][0] + MARGIN_COST <= cost:
        return True
    return search.chance(fits[0][0] if fits else cost) > LOOKED_CHANCE


_VERDICTS = {
    "settled": "settled",
    "ambiguous": "ambiguous, {} interpretations are about as simple",
    "weak": "weak, the fits would fit too many other numbers",
    "none": "no interpretation fits",
}


def lines_of(answer: Answer) -> Iterator[str]:
    """Yield the answer to one claim as lines of text."""
    claim, simplest = answer.claim, answer.simplest
    low, high = answer.claim.bounds
    span = f"{low:,} to {high:,}" if low < high else f"{low:,}"
    title = claim.text if claim.name == claim.text else f"{claim.name} = {claim.text}"
    verdict = _VERDICTS[answer.verdict].format(len(simplest))
    yield f"{title} ({span}): {verdict}"
    shown = SHOWN if answer.chance <= LOOKED_CHANCE else 1
    yield from _table(simplest[:shown])
    if len(simplest) > shown:
        yield f"  … and {len(simplest) - shown} more that are as simple"
    if len(answer.fits) > len(simplest):
        more = len(answer.fits) - len(simplest)
        yield f"  {more} more interpretations fit with more assumptions"
    if not answer.fits or answer.chance > LOOKED_CHANCE:
        yield "  nearest interpretations that are simple enough for this number of digits:"
        yield from _table(answer.nearest)
    yield f"  {_of_random_numbers(answer)}"


def _table(fits: Sequence[Fit]) -> Iterator[str]:
    width = max((len(fit.name) for fit in fits), default=0)
    for fit in fits:
        unit = {"MAC": "MACs", "FLOP": "FLOPs"}.get(fit.interpretation.unit, "")
        number = f"{fit.interpretation.value:,} {unit}".strip()
        where = f"   {fit.interpretation.where}" if fit.interpretation.where else ""
        cost = f"cost {fit.cost:g}"
        yield f"  {fit.name:<{width}}  {number:>22}  {100 * fit.error:+.3g} %  {cost}{where}"


def _of_random_numbers(answer: Answer) -> str:
    figures = answer.claim.figures
    digits = f"{figures} digit{'s' if figures > 1 else ''}"
    share = f"{100 * answer.chance:.3g} %" if answer.chance else f"none of {DRAWS:,}"
    if not answer.fits:
        return (
            f"Of random numbers with {digits}, {share} would have fitted one of the "
            f"{answer.tried:,} numbers that were compared."
        )
    weak = " That is too many to settle the claim." if answer.chance > SETTLED_CHANCE else ""
    return (
        f"Of random numbers with {digits}, {share} would have fitted an interpretation "
        f"as simple as this.{weak} {100 * answer.explained:.2g} % would have been called settled "
        "or ambiguous."
    )
