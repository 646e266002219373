"""`flopaudit settle --claim`: claims about a model come in, what gives their numbers goes out.

Variants of the model are counted by rising cost, and only as long as one of the claims could still
be answered differently by them.
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
    MARGIN_BITS,
    SETTLED_CHANCE,
    Answer,
    Fit,
    Interpretation,
    Search,
    answer,
)
from flopaudit.pipeline.model_requests import ModelRequest

SHOWN = 5


@dataclass(frozen=True)
class SettledClaims:
    """What was found out about claims.

    Attributes:
        subject: the model and its usual input.
        reference: its multiply-accumulates and its parameters.
        answers: one for each claim.
        skipped: variants that could not be counted, and why.
    """

    subject: ModelRequest
    reference: dict[str, int]
    answers: tuple[Answer, ...]
    skipped: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """One object with stable keys."""
        return {
            "model": str(self.subject.spec),
            "inputs": list(self.subject.inputs),
            "reference": self.reference,
            "claims": [each.to_json() for each in self.answers],
            "skipped": self.skipped,
        }

    def lines(self) -> Iterator[str]:
        """The answers, for a person."""
        macs, params = self.reference["macs"], self.reference["params"]
        inputs = " + ".join(self.subject.inputs)
        yield f"{self.subject.spec} · {inputs} · reference {macs:,} MACs, {params:,} params"
        for each in self.answers:
            yield ""
            yield from lines_of(each)


def settle_claims(
    subject: ModelRequest, claims: Sequence[Claim], extra: Iterable[Interpretation] = ()
) -> SettledClaims:
    """Count the model, and its variants as far as they may matter, and answer the claims.

    Args:
        subject: the model.
        claims: at least one.
        extra: readings from elsewhere, such as what tools say.

    Raises:
        UsageError: there is no such model, or it does not take its inputs.
    """
    from flopaudit.claims.model_variants import Variants

    variants = Variants(subject)
    usual = variants.as_it_is()
    readings = [*interpretations_of(usual), *extra]
    answers: dict[Claim, Answer] = {}
    for bits, offers in groupby(variants.offers(), key=lambda offer: offer.bits):
        # Answered as soon as it can be, so that no claim depends on which others are asked.
        done = [c for c in claims if c not in answers and _is_done(c, readings, bits)]
        answers.update(zip(done, answer(done, readings), strict=True))
        if len(answers) == len(claims):
            break
        for setting in filter(None, (offer.count() for offer in offers)):
            readings += interpretations_of(setting)
    rest = [claim for claim in claims if claim not in answers]
    answers.update(zip(rest, answer(rest, readings), strict=True))
    reference = {"macs": usual.ledger.macs, "params": usual.ledger.params}
    return SettledClaims(subject, reference, tuple(answers[c] for c in claims), variants.skipped)


def _is_done(claim: Claim, readings: Sequence[Interpretation], bits: float) -> bool:
    """Whether readings that cost so much or more cannot change what is said of a claim."""
    search = Search(claim, readings)
    fits = search.fits(claim.digits, claim.power)
    if fits and fits[0][0] + MARGIN_BITS <= bits:
        return True
    return search.chance(fits[0][0] if fits else bits) > LOOKED_CHANCE


_VERDICTS = {
    "settled": "settled",
    "ambiguous": "ambiguous, {} readings are about as simple",
    "weak": "weak, what fits would fit too many other numbers",
    "none": "no reading fits",
}


def lines_of(answer: Answer) -> Iterator[str]:
    """The answer to one claim, for a person."""
    claim, simplest = answer.claim, answer.simplest
    low, high = answer.claim.bounds
    span = f"{low:,} to {high:,}" if low < high else f"{low:,}"
    said = claim.text if claim.name == claim.text else f"{claim.name} = {claim.text}"
    verdict = _VERDICTS[answer.verdict].format(len(simplest))
    yield f"{said} ({span}): {verdict}"
    shown = SHOWN if answer.chance <= LOOKED_CHANCE else 1
    yield from _table(simplest[:shown])
    if len(simplest) > shown:
        yield f"  … and {len(simplest) - shown} more as simple"
    if len(answer.fits) > len(simplest):
        yield f"  What supposes more fits too: {len(answer.fits) - len(simplest)} more readings"
    if not answer.fits or answer.chance > LOOKED_CHANCE:
        yield "  nearest, of readings as simple as the digits demand:"
        yield from _table(answer.nearest)
    yield f"  {_of_random_numbers(answer)}"


def _table(fits: Sequence[Fit]) -> Iterator[str]:
    width = max((len(fit.name) for fit in fits), default=0)
    for fit in fits:
        unit = {"MAC": "MACs", "FLOP": "FLOPs"}.get(fit.reading.unit, "")
        number = f"{fit.reading.value:,} {unit}".strip()
        where = f"   {fit.reading.where}" if fit.reading.where else ""
        cost = f"{fit.bits:g} bit{'s' * (fit.bits != 1)}"
        yield f"  {fit.name:<{width}}  {number:>22}  {100 * fit.error:+.3g} %  {cost}{where}"


def _of_random_numbers(answer: Answer) -> str:
    figures = answer.claim.figures
    digits = f"{figures} digit{'s' if figures > 1 else ''}"
    share = f"{100 * answer.chance:.3g} %" if answer.chance else f"none of {DRAWS:,}"
    if not answer.fits:
        return (
            f"Of random numbers with {digits}, {share} would have fitted one of the "
            f"{answer.tried:,} numbers that were tried."
        )
    weak = " Too many to settle it." if answer.chance > SETTLED_CHANCE else ""
    return (
        f"Of random numbers with {digits}, {share} would have fitted a reading as simple as "
        f"this.{weak} {100 * answer.explained:.2g} % would have been called settled or ambiguous."
    )
