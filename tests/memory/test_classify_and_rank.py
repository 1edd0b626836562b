import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.classify import tier_of
from memory.contract import Tier
from memory.rank import rank


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ("Prefers large print", Tier.PUBLIC),
        ("She prefers Spanish.", Tier.PUBLIC),
        ("please use e-mail", Tier.PUBLIC),
        ("Call me Ada", Tier.LOW),
        ("Goes by Grace", Tier.LOW),
        ("Call me Ada on +1 415 555 0132", Tier.PERSONAL),
        ("Ordered two blankets in October", Tier.PERSONAL),
        ("Write to ada@example.com", Tier.PERSONAL),
        ("Is allergic to wool", Tier.SENSITIVE),
        ("Keeps kosher", Tier.SENSITIVE),
        ("Born on 3 May 1984", Tier.SENSITIVE),
        ("Her birthday is 3 May", Tier.PERSONAL),
        ("Her son is 6", Tier.SENSITIVE),
        ("Is at 37.77490, -122.41942", Tier.SENSITIVE),
        ("Prefers English because of her migraines", Tier.SENSITIVE),
        ("SSN 536-90-4399", Tier.RESTRICTED),
        ("passport number X12345678", Tier.RESTRICTED),
        ("IBAN DE89 3704 0044 0532 0130 00", Tier.RESTRICTED),
        ("her bank account number is 00123456789", Tier.RESTRICTED),
        ("4242 4242 4242 4242", Tier.FORBIDDEN),
        ("My PIN is 4912", Tier.FORBIDDEN),
        ("password = hunter2", Tier.FORBIDDEN),
        ("CVC 123", Tier.FORBIDDEN),
        ("123456 is my verification code", Tier.FORBIDDEN),
    ],
)
def test_a_text_is_kept_at_the_tier_of_the_most_sensitive_thing_in_it(said: str, tier: Tier):
    assert tier_of(said) is tier


@given(st.text(max_size=300))
def test_no_text_breaks_the_classes(said: str):
    assert tier_of(said) in Tier


@given(st.text(max_size=80))
def test_adding_something_sensitive_never_lowers_the_tier(said: str):
    assert tier_of(f"{said}. Is allergic to wool") >= tier_of(said) or tier_of(said) is Tier.FORBIDDEN


TEXTS = [
    "Complained that the parcel with the blanket came late",
    "Bought the brass reading lamp",
    "Has two cats who like wool",
    "Sits in the garden every evening",
]


@pytest.mark.parametrize(
    ("query", "best"),
    [("lamps", 1), ("what did she complain about?", 0), ("cat", 2), ("reading", 1), ("delivery of blankets", 0)],
)
def test_the_best_match_comes_first_whatever_the_word_form(query: str, best: int):
    assert rank(query, TEXTS, 3)[0] == best


def test_an_empty_query_keeps_the_newest_and_an_unrelated_one_finds_nothing():
    assert rank("", TEXTS, 2) == [0, 1]
    assert rank("of the", TEXTS, 2) == [0, 1]
    assert rank("submarine", TEXTS, 5) == []
    assert rank("lamp", [], 5) == []


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=12), st.integers(1, 50))
def test_ranking_answers_each_place_at_most_once_and_keeps_the_limit(query: str, texts: list[str], limit: int):
    places = rank(query, texts, limit)

    assert len(places) == len(set(places)) <= limit
    assert all(0 <= place < len(texts) for place in places)
