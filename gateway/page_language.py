"""In which of its languages the card page is asked for: by the primary subtag, as RFC 4647 section 3.4 looks one up.

Who speaks to the person says in which language. One the page does not have is as good as none: the page then goes by
what the person's browser asks for, and they can change it there.
"""

from typing import Final

from vault.contract import PageLanguage

_KNOWN: Final = {language.value: language for language in PageLanguage}


def page_language(tag: str | None) -> PageLanguage | None:
    """`tag` is of BCP 47, in any case of letters: `de-AT` gives German."""
    return None if tag is None else _KNOWN.get(tag.partition("-")[0].lower())
