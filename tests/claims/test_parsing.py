"""Parsing of claims: the numbers that a text stands for, and the counts that are printed as it."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from flopaudit.claims.parsing import bounds, parse_claim, parse_claims
from flopaudit.core.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "low", "high", "unit"),
    [
        ("3.8G", 3_750_000_000, 3_850_000_000, ""),
        ("4.12 GFLOPs", 4_115_000_000, 4_125_000_000, "FLOP"),
        ("4.09 GMACs", 4_085_000_000, 4_095_000_000, "MAC"),
        ("8.2B", 8_150_000_000, 8_250_000_000, ""),
        ("25.6M params", 25_550_000, 25_650_000, "param"),
        ("38,612,737", 38_612_737, 38_612_737, ""),
        ("4089184256", 4_089_184_256, 4_089_184_256, ""),
        ("3,800,000,000", 3_750_000_000, 3_850_000_000, ""),
        ("1.8e9", 1_750_000_000, 1_850_000_000, ""),
        ("3.8 BFLOPs", 3_750_000_000, 3_850_000_000, "FLOP"),
        ("3.6*10^9", 3_550_000_000, 3_650_000_000, ""),
        ("3.6 × 10⁹ MACs", 3_550_000_000, 3_650_000_000, "MAC"),
        ("4.1 G", 4_050_000_000, 4_150_000_000, ""),
        ("0.3 GFLOPS", 250_000_000, 350_000_000, "FLOP"),
        ("4.10G", 4_095_000_000, 4_105_000_000, ""),
        ("2 GiFLOPs", 1_610_612_736, 2_684_354_560, "FLOP"),
        ("4.0892e9", 4_089_150_000, 4_089_250_000, ""),
        ("4089184.5", 4_089_185, 4_089_184, ""),
        ("~4.1", 4_050_000_000, 4_150_000_000, ""),
        ("569M Mult-Adds", 568_500_000, 569_500_000, "MAC"),
        ("1.8 billion multiply-adds", 1_750_000_000, 1_850_000_000, "MAC"),
    ],
)
def test_text_is_parsed(text: str, low: int, high: int, unit: str) -> None:
    claim = parse_claim(f"paper={text}")
    assert (claim.name, claim.text, claim.unit) == ("paper", text, unit)
    assert claim.bounds == (low, high)
    assert parse_claim(text).name == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a claim"),
        ("paper=", "is not a claim"),
        ("=3.8G", "is not a claim"),
        ("paper=much", "is not a number"),
        ("3,8G", "is not a number"),
        ("-3G", "is not a number"),
        ("1.5 MB", "is not a number"),
        ("0G", "above 0"),
        ("8 GFLOP/s", "is a speed"),
        ("8 TFLOPS per second", "is a speed"),
        ("9" * 400, "larger than the count of any network"),
    ],
)
def test_a_text_that_is_not_a_claim_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_claim(text)
    assert caught.value.remedy


def test_names_stand_for_themselves() -> None:
    assert parse_claim("params=25.6M").quantity == "params"
    of_a_paper = parse_claims(["paper=3.8G", "paper=25.6M params"])
    assert [claim.name for claim in of_a_paper] == ["paper", "paper"]
    with pytest.raises(UsageError, match="no claim"):
        parse_claims([])


PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Mi": 2**20, "Gi": 2**30}
UNITS = {"MAC": "MACs", "FLOP": "FLOPs", "param": "params", "": ""}


@given(
    st.integers(1, 10**9),
    st.integers(-9, 0),
    st.sampled_from(sorted(PREFIXES)),
    st.sampled_from(sorted(UNITS)),
)
def test_a_printed_number_is_parsed_back(digits: int, power: int, prefix: str, unit: str) -> None:
    text = f"{Decimal(digits).scaleb(power):f} {prefix}{UNITS[unit]}".strip()
    claim = parse_claim(text)
    assert (claim.prefix, claim.unit) == (prefix, unit)
    assert claim.digits * Decimal(10) ** claim.power == Decimal(digits).scaleb(power)


@given(
    st.integers(1, 10**14),
    st.integers(0, 6),
    st.sampled_from(["K", "M", "G", "Gi"]),
    st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN]),
)
def test_a_count_is_within_its_own_text(
    count: int, decimals: int, prefix: str, rounding: str
) -> None:
    exact = Decimal(count) / PREFIXES[prefix]
    printed = exact.quantize(Decimal(1).scaleb(-decimals), rounding)
    if printed:
        low, high = parse_claim(f"{printed:f}{prefix}").bounds
        assert low <= count <= high


@given(st.integers(10**6, 10**14), st.integers(0, 6), st.sampled_from(["K", "M"]))
def test_a_count_cut_off_is_within_the_text_of_that(count: int, decimals: int, prefix: str) -> None:
    exact = Decimal(count) / PREFIXES[prefix]
    printed = exact.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN)
    claim = parse_claim(f"{printed:f}{prefix}")
    spans = [bounds(claim.digits, claim.power, each) for each in claim.printings() if each.cut]
    assert any(low <= count <= high for low, high in spans)
    below, _ = spans[0]
    assert below <= count


def test_last_zeros_may_have_been_rounded() -> None:
    claim = parse_claim("300M")
    coarse = next(each for each in claim.printings() if each.coarser == 1)
    assert bounds(claim.digits, claim.power, coarse) == (295_000_000, 305_000_000)
    assert coarse.cost > 0
    # Behind the point zeros are printed on purpose.
    assert all(not each.coarser for each in parse_claim("3.00G").printings())


def test_the_usual_way_of_printing_costs_nothing_and_stands_first() -> None:
    for text in ("3.8G", "300M", "2 GiFLOPs", "38,612,737"):
        first, *others = parse_claim(text).printings()
        assert first.cost == 0
        assert all(other.cost > 0 for other in others)
