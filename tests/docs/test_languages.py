"""The English and the Chinese README have the same commands, examples and links."""

from __future__ import annotations

from collections import Counter

from tests.support.documents import (
    CHINESE,
    ENGLISH,
    blocks,
    commands,
    inline_code,
    links,
    read,
)

TOP_LINES = 4


def test_code_blocks_are_identical() -> None:
    assert blocks(ENGLISH)
    assert blocks(CHINESE) == blocks(ENGLISH)


def test_commands_are_identical() -> None:
    assert list(commands(ENGLISH))
    assert list(commands(CHINESE)) == list(commands(ENGLISH))


def test_inline_code_is_identical() -> None:
    """Compare in any order, because a sentence may be turned around in the other language."""
    assert Counter(inline_code(CHINESE)) == Counter(inline_code(ENGLISH))


def test_each_links_to_the_other_at_the_top() -> None:
    for page, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        top = "\n".join(read(page).splitlines()[:TOP_LINES])
        assert other.name in links(top)


def test_all_other_links_are_identical() -> None:
    mutual = {ENGLISH.name, CHINESE.name}
    english, chinese = (
        Counter(link for link in links(read(page)) if link not in mutual)
        for page in (ENGLISH, CHINESE)
    )
    assert english == chinese
