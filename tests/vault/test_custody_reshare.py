"""`undercroft custody reshare`: new shares for other people, by enough of those who hold the present ones."""

from typing import Any

import pytest

from tests.vault.custody import (
    CTRL_C,
    PAIR,
    Place,
    Typist,
    acts,
    changed,
    deal,
    everything,
    key_of,
    opens,
    prove,
)


def gives(typist: Typist, name: str, paper: str) -> None:
    typist.sees("Who gives one? ")
    typist.types(name)
    prove(typist, name)
    typist.sees(f"{name}, your share: ")
    typist.types(paper)


@pytest.mark.control("UC-3.6.1.2")
def test_who_left_the_circle_opens_nothing_any_more_and_the_root_stays_the_same(kept: Place, papers: dict[str, str]):
    root = opens(kept, key_of(papers, *PAIR))

    with kept.sit("reshare", "ben", "cleo") as typist:
        gives(typist, "ada", papers["ada"])
        gives(typist, "ben", papers["ben"])
        prove(typist, "cleo")  # ben has proved himself already
        new = deal(typist, "ben", "cleo")
        typist.types("yes")
        assert typist.end() == 0, typist.screen

    assert root is not None
    assert opens(kept, key_of(new, "ben", "cleo")) == root
    assert opens(kept, key_of(papers, *PAIR)) is None
    (before,) = [act for act in acts(kept) if act["act"] == "generated"]
    after = acts(kept)[-1]
    assert (after["act"], after["replaces"]) == ("reshared", before["ceremony"])
    assert after["present"] == ["ada", "ben", "cleo"]
    assert [one["custodian"] for one in after["shares"]] == ["ben", "cleo"]
    assert after["check_value"] != before["check_value"]
    assert kept.run("status")[0] == 0


@pytest.mark.control("UC-3.6.1.2")
@pytest.mark.parametrize("point", ["custody_before_file", "custody_after_file"])
def test_killed_while_it_writes_either_all_old_or_all_new_shares_open_it(
    kept: Place, papers: dict[str, str], point: str
):
    root = opens(kept, key_of(papers, *PAIR))

    with kept.sit("reshare", *PAIR, CRASH_POINTS=point) as typist:
        for name in PAIR:
            gives(typist, name, papers[name])
        new = deal(typist, *PAIR)
        typist.types("yes")
        assert typist.end() == -9
    told = kept.run("status")

    assert told[0] == 0, told[1]
    found = opens(kept, key_of(papers, *PAIR)), opens(kept, key_of(new, *PAIR))
    assert found == ((root, None) if point == "custody_before_file" else (None, root))
    assert acts(kept)[-1]["act"] == ("generated" if point == "custody_before_file" else "reshared")


def the_same_share_twice(typist: Typist, papers: dict[str, str]) -> None:
    gives(typist, "ada", papers["ada"])
    gives(typist, "ada", papers["ada"])


def anothers_share(typist: Typist, papers: dict[str, str]) -> None:
    gives(typist, "ada", papers["ben"])


def a_stranger(typist: Typist, _papers: dict[str, str]) -> None:
    typist.sees("Who gives one? ")
    typist.types("mallory")


def one_share_and_away(typist: Typist, papers: dict[str, str]) -> None:
    gives(typist, "ada", papers["ada"])
    typist.sees("Who gives one? ")
    typist.presses(CTRL_C)


def all_but_the_last_word(typist: Typist, papers: dict[str, str]) -> None:
    for name in PAIR:
        gives(typist, name, papers[name])
    deal(typist, *PAIR)
    typist.types("no")


@pytest.mark.control("UC-3.6.1.2")
@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (the_same_share_twice, 1, "another custodian has to come"),
        (anothers_share, 1, "that is share 2, and ada has share 1"),
        (a_stranger, 1, "mallory has no share"),
        (one_share_and_away, 130, "nothing was changed"),
        (all_but_the_last_word, 1, "nothing was changed"),
    ],
)
def test_without_enough_right_shares_of_different_people_and_a_yes_nothing_changes(
    kept: Place, papers: dict[str, str], how: Any, code: int, said: str
):
    before = everything(kept.folder)

    with kept.sit("reshare", *PAIR) as typist:
        how(typist, papers)
        ended = typist.end()

    assert (ended, said in typist.screen) == (code, True), typist.screen
    assert changed(before, everything(kept.folder)) == set()


def test_what_lies_open_has_no_shares_to_make_anew(place: Place):
    told = place.run("reshare", *PAIR)

    assert (told[0], "is not under custody" in told[1]) == (1, True)
