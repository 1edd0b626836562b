"""Everything a person can read on the page: one data file a language, each with exactly these keys.

A file that lacks a key, or has one too many, stops the process at start: a page with a hole in it is worse than none.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from markupsafe import Markup, escape

from vault.cleartext.issuers import CardBrand
from vault.cleartext.pan import CardFlaw
from vault.contract import PageLanguage

_FOLDER: Final = Path(__file__).parent / "languages"


class PageTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One language. `{payee}`, `{amount}`, `{card}`, `{last4}`, `{bank}` and `{title}` stand where a value goes."""

    own_name: str
    switch: str
    error_title: str
    moment: str
    card_title: str
    replaces: str
    to_pay: str
    correct: str
    number_label: str
    expiry_label: str
    expiry_hint: str
    code_label: str
    code_hint: str
    holder_label: str
    save: str
    sealing: str
    sealing_failed: str
    next_title: str
    next_vault: str
    next_back: str
    next_nothing: str
    done_title: str
    done_heading: str
    done_card: str
    done_back: str
    done_pay: str
    done_close: str
    gone_title: str
    gone_why: str
    overtaken_why: str
    gone_back: str
    gone_nothing: str
    unavailable_title: str
    unavailable_why: str
    unavailable_wait: str
    bank_title: str
    bank_why: str
    bank_go: str
    bank_where: str
    confirmed_title: str
    confirmed_what: str
    unconfirmed_title: str
    unconfirmed_what: str
    over_why: str
    over_back: str
    away_why: str
    away_wait: str
    foot: str
    flaws: dict[CardFlaw, str]
    card_brands: dict[CardBrand, str]


class TextsIncomplete(ValueError):
    """A language's file lacks a text or has one nobody reads."""


def read_texts(path: Path) -> PageTexts:
    """Raises TextsIncomplete, which names the file and the key."""
    try:
        texts = msgspec.toml.decode(path.read_bytes(), type=PageTexts)
    except msgspec.DecodeError as error:
        raise TextsIncomplete(f"{path.name}: {error}") from None
    missing = [*(CardFlaw.__members__.values() - texts.flaws.keys()), *(set(CardBrand) - texts.card_brands.keys())]
    if missing:
        raise TextsIncomplete(f"{path.name}: no text for {', '.join(sorted(missing))}")
    return texts


def fill(text: str, **values: str) -> Markup:
    """A text as HTML, each value escaped and in a `<bdi>`: a Latin name must not turn an Arabic sentence around."""
    isolated = {name: Markup("<bdi>{}</bdi>").format(value) for name, value in values.items()}
    return escape(text).format(**isolated)


TEXTS: Final[Mapping[PageLanguage, PageTexts]] = MappingProxyType(
    {language: read_texts(_FOLDER / f"{language}.toml") for language in PageLanguage}
)
