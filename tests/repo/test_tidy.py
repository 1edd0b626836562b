"""The rules of compliance/checks, over this tree. Each exception stands here with its reason."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from compliance.checks import drawing, licences, secrecy, shape, transactions, unused, words
from compliance.checks.tree import ROOT, SERVICES, Finding, Source, Text
from tests.repo.used_by_others import USED_BY_OTHERS

Rule = Callable[[Source], Iterable[Finding]]

FOREIGN_WORDS = {
    ("gateway/browser/", "authorize"): "the endpoint's name in OAuth 2.1",
    ("gateway/oauth/", "user"): "Authlib calls these methods by their names",
    ("infra/chassis/client.py", "session"): "aiohttp's client session",
    ("infra/chassis/keys/pkcs11.py", "session"): "PKCS#11 has sessions",
    ("infra/dev/", "user"): "the operating system's user",
    ("infra/cli/", "user"): "the operating system's user",
    ("infra/dev/browser.py", "session"): "the browser's own protocol has sessions",
    ("infra/dev/demo/", "authorize"): "the endpoint's name in OAuth 2.1",
    ("infra/sandbox/", ""): "it speaks the processor's language",
    ("mcp_server/", "session"): "MCP of 2025 has sessions, and its SDK a session manager",
    ("vault/cleartext/processors/transport.py", "session"): "aiohttp's client session",
}
CARD_WORDS_IN = ("vault/", "infra/sandbox/", "infra/dev/demo/", "infra/chassis/screen/", "tests/")
"""The vault; the processor and the person with a card that the sandbox and the demo play; the screen; tests."""
REVEALS = {
    # who opens the database, wraps keys, signs
    ("infra/chassis/engine.py", "create_engine"),
    ("infra/chassis/sealing.py", "_derive"),
    ("infra/chassis/keys/frame.py", "key_to_wrap"),
    ("infra/chassis/keys/pkcs11.py", "Pkcs11KeyService._log_in"),
    ("infra/chassis/keys/probe.py", "prove_round_trip"),
    ("infra/chassis/keys/ringfile.py", "encode"),
    ("infra/chassis/keys/software.py", "_open_before_versions"),
    ("infra/chassis/keys/transit.py", "TransitKeyService._client"),
    ("infra/chassis/jwk.py", "signing_key"),
    # who keys an HMAC or derives a key
    ("gateway/challenges.py", "Codes._hmac"),
    ("gateway/contacts.py", "Contacts._derived"),
    ("mcp_server/carried.py", "_derived"),
    ("mcp_server/settings.py", "check"),
    # who presents a bearer or proves a client
    ("gateway/couriers.py", "Texts.__init__"),
    ("gateway/couriers.py", "Texts.send_code"),
    ("gateway/factors/credentials.py", "Credentials._basic"),
    ("mcp_server/gateway_calls.py", "GatewayCalls._send"),
    ("mcp_server/identity.py", "Exchange.for_caller"),
    # who seals and opens memories
    ("memory/seal.py", "SubjectKeys.new_subject_key"),
    ("memory/seal.py", "Sealer._cipher"),
    ("memory/seal.py", "SubjectKeys.open_subject_key"),
    # who seals and opens cards
    ("vault/cleartext/fingerprint_renewal.py", "FingerprintRenewal._renew"),
    ("vault/cleartext/sealing.py", "CardSealer.sealed"),
    ("vault/cleartext/tokenise.py", "Cards.lend"),
    ("vault/cleartext/tokenise.py", "Cards.tokenise"),
    ("vault/canary_marks.py", "_mark"),
    ("vault/canary_planting.py", "Planting._sealed"),
    ("vault/custodians/ceremony.py", "_derived"),
    ("vault/custodians/visiting.py", "hand_over"),
    ("vault/cleartext/tokenise.py", "Cards.present"),
    ("vault/cleartext/tokenise.py", "Cards.try_to_open"),
    ("vault/fingerprint.py", "Fingerprints.__init__"),
    ("vault/fingerprint.py", "Fingerprints.of"),
    ("vault/fingerprint.py", "hidden"),
    ("vault/keys/resealing.py", "_moved"),
    ("vault/keys/rounds.py", "Rounds._wrap_anew"),
    # who seals a file's own key, and cards for another vault
    ("vault/cleartext/batch/sealed_file.py", "SealedWriter.__init__"),
    ("vault/cleartext/batch/leaving.py", "Departure._revealed"),
    ("vault/cleartext/batch/leaving.py", "_line"),
    # who signs what tenants are told
    ("vault/outbox/settings.py", "OutboxSettings.faults"),
    ("vault/outbox/signing.py", "EndpointKeys._derived"),
    # who hands a card to a registered destination or to the processor, and reads what that signed
    ("vault/cleartext/forwarding/carrying.py", "_parts"),
    ("vault/cleartext/processors/airwallex.py", "AirwallexProcessor._check_signature"),
    ("vault/cleartext/processors/airwallex.py", "AirwallexProcessor._enter"),
    ("vault/cleartext/processors/airwallex.py", "AirwallexProcessor._send"),
    ("vault/cleartext/processors/airwallex.py", "_typed"),
    ("vault/cleartext/processors/held.py", "HeldCards.hold"),
    ("vault/cleartext/processors/stripe.py", "StripeProcessor.__init__"),
    ("vault/cleartext/processors/stripe.py", "StripeProcessor.present_card"),
    ("vault/cleartext/processors/stripe.py", "StripeProcessor.read_event"),
    # who asks the card updater about a card, looks at what it says, and proves us to it
    ("vault/cleartext/updaters/checking.py", "_number"),
    ("vault/cleartext/updaters/checking.py", "successor"),
    ("vault/cleartext/updaters/checkout.py", "CheckoutUpdater.__init__"),
    ("vault/cleartext/updaters/checkout.py", "CheckoutUpdater._enter"),
    ("vault/cleartext/updaters/checkout.py", "CheckoutUpdater._send"),
    ("vault/cleartext/updaters/checkout.py", "_inquiry"),
}
DRAWN_WITH_DIGITS = {
    ("gateway/browser/cookies.py", "new_value"): "a cookie's secret; its hash is kept",
    ("gateway/factors/logins.py", "new_flow"): "a verifier and a nonce of OpenID Connect",
    ("gateway/oauth/handles.py", "new_handle"): "a refresh token or a code; its hash is kept",
    ("infra/chassis/trace.py", "_drawn_span_id"): "W3C wants hex; drawn again when it has a run of digits",
    ("infra/chassis/trace.py", "_drawn"): "likewise",
    ("vault/authentications/answering.py", "Authentications.enter"): "as of a capture",
    ("vault/captures.py", "Captures.enter"): "a cookie's secret; its hash is kept",
    ("vault/custodians/door.py", "Door._visit"): "said once to a custodian, to be answered",
}
"""Whatever else has an id has it from `new_id`: letters only."""
AWAITED_INSIDE = {
    ("gateway/record/verify.py", "anext(checkpoints"): "a stream of the same connection; the transaction only reads",
    ("gateway/record/verify.py", "_pass(checkpoints"): "as above",
}
STARTED_BY_NAME = frozenset({
    "compliance.evidence",  # python -m compliance.evidence
    "infra.cli.checking", "infra.cli.measuring", "infra.cli.showing",  # the command line imports what a command needs
    "infra.cli.delegating", "infra.cli.hardening",  # likewise
    "infra.dev.leash",  # run by path, before any package is importable
})  # fmt: skip
LICENCES_TAKEN_ON_PURPOSE = {
    "python-stdnum": "LGPL-2.1-or-later: imported unchanged as a library, which the licence allows to any program",
    "cedarpy": "no licence in its metadata; its LICENSE file is Apache-2.0",
}
CARDS_OF_OTHERS = frozenset({"4111" + "1" * 12})
"""The networks' common test number; used to show that the sandbox declines what its processor does not publish."""
STYLE_RULES = [
    shape.long_functions, shape.long_files, shape.vague_names, shape.printing, shape.bare_suppressions,
    shape.skipped_tests, words.addresses,
]  # fmt: skip


@pytest.mark.parametrize("rule", STYLE_RULES)
def test_every_source_file_keeps_the_rule(rule: Rule, sources: list[Source]):
    _none(_all(rule, sources))


def test_every_property_test_has_its_settings_from_one_place(sources: list[Source]):
    """So that an ordinary run draws the same cases everywhere and every time."""
    found = [one.path for one in _all(shape.own_settings_of_cases, sources)]

    assert found == ["tests/support/cases.py"]


def test_nothing_is_unfinished_by_its_own_words(sources: list[Source]):
    _none(_all(shape.unfinished, [file for file in sources if file.top != "tests"]))


def test_words_mean_one_thing(sources: list[Source]):
    found = _all(words.foreign_words, [file for file in sources if file.top != "tests"])

    allowed = {key: [one for one in found if _is_about(one, *key)] for key in FOREIGN_WORDS}
    _none(set(found).difference(*allowed.values()))
    assert [key for key, needed in allowed.items() if not needed] == [], "an exception nobody needs any more"


@pytest.mark.control("UC-3.1")
def test_card_words_stand_only_where_cards_are(sources: list[Source]):
    _none(_all(words.card_words, [file for file in sources if not file.path.startswith(CARD_WORDS_IN)]))


@pytest.mark.control("UC-3.1")
def test_no_file_holds_a_card_number_but_the_published_test_cards(texts: list[Text]):
    drawn_or_locked = (".svg", ".txt", "-lock.json")
    read = [text for text in texts if not text.path.endswith(drawn_or_locked)]

    found = [one for text in read for one in words.card_like_digits(text, words.TEST_CARDS | CARDS_OF_OTHERS)]

    _none(found)


@pytest.mark.control("UC-3.1")
def test_no_service_outside_the_vault_writes_even_a_test_card(texts: list[Text]):
    rooms = ("gateway", "memory", "mcp_server", "vault")

    assert (
        _all(words.card_like_digits, [text for text in texts if text.top in rooms and text.path[-4:] != ".svg"]) == []
    )


@pytest.mark.control("UC-3.6")
def test_whoever_reveals_a_secret_is_on_the_list(sources: list[Source]):
    assert secrecy.reveals([file for file in sources if file.top != "tests"]) == REVEALS


@pytest.mark.control("UC-3.1")
def test_whatever_may_hold_digits_by_chance_is_on_the_list_and_no_id_is(sources: list[Source]):
    drawn = drawing.drawings(
        [file for file in sources if file.top in SERVICES or file.path.startswith("infra/chassis")]
    )

    assert drawn == DRAWN_WITH_DIGITS.keys()


@pytest.mark.control("UC-C.1")
def test_inside_a_transaction_only_the_transaction_is_awaited(sources: list[Source]):
    found = _all(transactions.awaits_elsewhere, [file for file in sources if file.top in SERVICES])
    allowed = [key for finding in found for key in AWAITED_INSIDE if finding.path == key[0] and key[1] in finding.what]

    _none(one for one in found if not any(one.path == path and what in one.what for path, what in allowed))
    assert set(allowed) == set(AWAITED_INSIDE), "an exception nobody needs any more"


def test_every_module_and_every_name_is_used(sources: list[Source], texts: list[Text]):
    others = [text for text in texts if text.path.endswith((".html", ".toml", ".js"))]

    names = {one: one.what.split("`")[1] for one in unused.unused_names(sources, others)}

    _none(unused.unused_modules(sources, STARTED_BY_NAME))
    _none(one for one, name in names.items() if name not in USED_BY_OTHERS)
    assert sorted(USED_BY_OTHERS.keys() - set(names.values())) == [], "an exception nobody needs any more"


def test_no_text_holds_an_address_of_one_machine_or_registry(texts: list[Text]):
    _none(_all(words.addresses, texts))


def test_the_top_level_is_the_house_plan(texts: list[Text]):
    _none(shape.stray_top_level(texts))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_what_it_is_and_what_a_thief_gets(service: str):
    path = ROOT / service / "README.md"

    _none(shape.readme_headings(Text(f"{service}/README.md", path.read_text(encoding="utf-8"))))


def test_a_contract_imports_no_framework(sources: list[Source]):
    contracts = [file for file in sources if file.name == "contract.py" or "/contract/" in file.path]

    assert {file.top for file in contracts} == set(SERVICES)
    _none(_all(shape.contract_frameworks, contracts))


def test_every_dependency_has_a_licence_we_accept():
    lock = Path(ROOT, "infra", "locks", "dev.txt")

    found = dict(licences.installed_licences(licences.locked(lock)))
    others = {name for name, named in found.items() if not named or not named <= licences.ALLOWED}

    assert others == LICENCES_TAKEN_ON_PURPOSE.keys()


def _all(rule: Callable[..., Iterable[Finding]], files: Iterable[Text]) -> list[Finding]:
    return [finding for file in files for finding in rule(file)]


def _none(findings: Iterable[Finding]) -> None:
    """Fails with one line for each finding."""
    found = "\n".join(str(finding) for finding in sorted(findings))
    assert not found, f"\n{found}"


def _is_about(finding: Finding, place: str, word: str) -> bool:
    return finding.path.startswith(place) and word in finding.what.split("`")[1].lower()
