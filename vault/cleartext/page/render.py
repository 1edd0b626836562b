"""The vault's card page: pure functions from a view to HTML, the files it needs, and its response headers.

The contract between these pages and the routes that serve them (`vault/pages.py`):

===========================  ==================================================================================
`GET  /captures/{id}`        `render_card_page(CardPageView)` while open; `render_done_page(DonePageView)` when
                             completed; `render_gone_page()` (410) in every other case, also for a capture the
                             cookie does not belong to: one text for all.
`POST /captures/{id}`        the form below. Success: 303 to `GET /captures/{id}` (so that reload posts nothing).
                             `CardFormRefused`: 422 and the card page again, `refused=` set, a fresh `csrf`.
                             `Taken.OVERTAKEN`: 409 and `render_overtaken_page()`, as for a `GET` of such a capture.
                             `FormMalformed`: 400 and `render_gone_page()`. Vault trouble: 503 and
                             `render_unavailable_page()`.
`GET  {asset.path}`          each `StaticAsset` of `STATIC` (its path holds its digest): 200 with `asset.headers`.
===========================  ==================================================================================

Every HTML answer carries `PAGE_HEADERS`. The form posts `application/x-www-form-urlencoded`, same origin, with the
capture's cookie and the hidden field `csrf`, in one of two shapes, never mixed:

* plain (no JavaScript): `csrf, number, expiry, code, holder`; `expiry` is `MM/YY` as typed;
* sealed: `csrf, sealed_kid, sealed_enc, sealed_ct`: the id of the page's key, and base64url without padding of the
  encapsulated key and the ciphertext of the JSON `{"number", "expiry", "code", "holder"}` (all strings).

The route reads it so::

    fields = read_form(body)                     # FormMalformed
    (compare fields["csrf"] with the capture's)
    place = SealedFor(tenant_id, capture_id)
    intake = take_card(fields, place=place, keys=page_keys, now=clock.now())   # CardFormRefused, SealedFormReplayed
    intake.details.number / .exp_month / .exp_year / .holder, intake.code, intake.suite

`page_keys` is one `vault.cleartext.hpke.PageKeys()` per process; `page_keys.offered(place, now)` are the view's `keys`.
Every page is in the language of its `Reader` (`language.py`); `reader.query` keeps a choice made by the switch.
The origin must be https (or loopback): elsewhere browsers have no WebCrypto and the form posts plain.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vault.cleartext.hpke import PagePublicKey
from vault.cleartext.intake import CardFormRefused, KeptFields
from vault.cleartext.issuers import ISSUER_RANGES, CardBrand
from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.language import ASKED_BY, Reader, direction_of
from vault.cleartext.page.money import amount_text
from vault.cleartext.page.texts import TEXTS, fill
from vault.cleartext.pan import CardFlaw
from vault.contract import PageLanguage

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
    "report-uri /reports"
)
"""`report-uri`, not `report-to`: every engine knows it and sends at once, and Chromium ignores it beside the other."""
PAGE_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
FLAW_FIELDS: Final = {flaw: flaw.value.partition("_")[0] for flaw in CardFlaw}
"""The form field each flaw belongs to; `sealed` belongs to the form as a whole."""

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["fill"] = fill
_ISSUERS_JSON: Final = json.dumps(
    [[issuer.first, issuer.last, issuer.brand, issuer.lengths, issuer.code_length] for issuer in ISSUER_RANGES],
    separators=(",", ":"),
)


@dataclass(frozen=True, slots=True)
class CardPageView:
    """One open capture as its person sees it.

    `csrf` is echoed by the form; `keys` are tried by the browser in their order; `language` is the one the capture
    names; `refused` is the last attempt's error; `replaces`: brand and last four of the card that is replaced.
    """

    capture_id: str
    brand_name: str
    amount_minor: int
    currency: str
    csrf: str
    keys: tuple[PagePublicKey, ...]
    language: str | None = None
    refused: CardFormRefused | None = None
    replaces: tuple[CardBrand, str] | None = None


@dataclass(frozen=True, slots=True)
class DonePageView:
    """A completed capture: `card_brand` and `last4` are all that may be shown of the card."""

    brand_name: str
    amount_minor: int
    currency: str
    card_brand: CardBrand
    last4: str
    language: str | None = None


def render_card_page(view: CardPageView, reader: Reader) -> str:
    language = reader.language(view.language)
    flaws = view.refused.flaws if view.refused else ()
    return render(
        "card.html",
        language,
        view=view,
        action=f"/captures/{view.capture_id}{reader.query}",
        amount=amount_text(view.amount_minor, view.currency, language),
        replaces=_replaced_text(view.replaces, language),
        flaws=flaws,
        flaw_of={FLAW_FIELDS[flaw]: flaw for flaw in reversed(flaws)},
        field_of=FLAW_FIELDS,
        first_flawed=FLAW_FIELDS[flaws[0]] if flaws else None,
        kept=view.refused.kept if view.refused else KeptFields(),
        issuers=_ISSUERS_JSON,
        card_names=json.dumps(TEXTS[language].card_brands),
        keys=json.dumps([asdict(key) for key in view.keys]),
    )


def render_done_page(view: DonePageView, reader: Reader) -> str:
    language = reader.language(view.language)
    return render(
        "done.html",
        language,
        view=view,
        amount=amount_text(view.amount_minor, view.currency, language),
        card_name=TEXTS[language].card_brands[view.card_brand],
    )


def render_gone_page(reader: Reader) -> str:
    """Expired, used, unknown or somebody else's: one text, so that it tells nobody which."""
    return render("gone.html", reader.language(), overtaken=False)


def render_overtaken_page(reader: Reader) -> str:
    """For the browser whose card was to replace one that another card, or nobody, stands for by now."""
    return render("gone.html", reader.language(), overtaken=True)


def render_unavailable_page(reader: Reader) -> str:
    return render("unavailable.html", reader.language())


def render_moment_page(reader: Reader) -> str:
    """What a browser shows that is told to come again by itself."""
    return render("moment.html", reader.language())


def _replaced_text(replaced: tuple[CardBrand, str] | None, language: PageLanguage) -> str:
    if replaced is None:
        return ""
    brand, last4 = replaced
    return fill(TEXTS[language].replaces, card=TEXTS[language].card_brands[brand], last4=last4)


def render(template: str, language: PageLanguage, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(
        **values,
        language=language,
        direction=direction_of(language),
        languages=TEXTS,
        texts=TEXTS[language],
        asked_by=ASKED_BY,
        stylesheet=STATIC["card.css"],
        script=STATIC["card.js"],
        icon=STATIC["icon.svg"],
    )
