"""Checkout.com's updater through its adapter: what is asked, what is believed of the answer, what never comes out."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwe
from joserfc.jwk import RSAKey

from infra.chassis.clock import FixedClock, SystemClock
from infra.chassis.settings import SettingsIncomplete, load
from tests.sandbox.running import APPROVES, Sandbox
from tests.vault.hostile import Behaviour, hostile, whole
from tests.vault.updates import MASTERCARD
from tests.vault.updating import NEXT, THIRD, Company, settings_of
from vault.cleartext.pan import CardDetails, CardNumber, DigitsWiped
from vault.cleartext.updaters import Implausible, Outcome, Renewed, UpdaterBusy, UpdaterSilent, checkout
from vault.cleartext.updaters.checking import successor
from vault.cleartext.updaters.checkout import CheckoutUpdater
from vault.updating.settings import NEEDED, UpdaterSettings, build_updater

FIELDS = json.loads((Path(__file__).parents[1] / "sandbox" / "fixtures" / "checkout_fields.json").read_text())
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENT, IMPATIENT = 20.0, 0.5
LOGIN = b'{"access_token": "bearer-of-the-day", "expires_in": 3600, "token_type": "Bearer"}'


@pytest.fixture
def company(processor: Sandbox) -> Iterator[Company]:
    there = Company(processor)
    yield there
    there.forget()


@pytest.fixture
async def updater(processor: Sandbox) -> AsyncIterator[CheckoutUpdater]:
    made = built(settings_of(processor))
    yield made
    await made.close()


def built(settings: UpdaterSettings, seconds: float = PATIENT) -> CheckoutUpdater:
    made = build_updater(settings, seconds, SystemClock())
    assert made is not None
    return made


def stored(number: str = APPROVES) -> CardDetails:
    return CardDetails(CardNumber(number), 12, 2026, "Ada Byron")


def plain(card: CardDetails) -> tuple[str, int, int]:
    return str(card.number.reveal(), "ascii"), card.exp_month, card.exp_year


async def asked(updater: CheckoutUpdater) -> CardDetails:
    answer = await updater.ask(stored())
    assert isinstance(answer, Renewed)
    return successor(stored(), answer, NOW)


async def test_another_number_and_another_month_are_the_stored_cards_successor(
    updater: CheckoutUpdater, company: Company
):
    company.knows("CARD_UPDATED", new_number=NEXT, expiry_month=3, expiry_year=2031)
    both = await asked(updater)
    company.knows("CARD_EXPIRY_UPDATED", expiry_month=3, expiry_year=2031, shows_number=False)
    month = await asked(updater)
    company.knows("CARD_EXPIRY_UPDATED", expiry_month=4, expiry_year=2031)
    with_number = await asked(updater)

    assert plain(both) == (NEXT, 3, 2031)
    assert plain(month) == (APPROVES, 3, 2031)
    assert plain(with_number) == (APPROVES, 4, 2031)
    assert both.holder == "Ada Byron"
    assert company.asked == ["4242"] * 3


async def test_what_says_no_is_an_outcome_of_ours(updater: CheckoutUpdater, company: Company):
    found = []
    for failure in FIELDS["failure_codes"]:
        company.knows("UPDATE_FAILED", failure_code=failure)
        found.append(await updater.ask(stored()))
    company.knows("UPDATE_FAILED", failure_code="OF_TOMORROW")
    found.append(await updater.ask(stored()))
    company.knows("CARD_CLOSED")
    found.append(await updater.ask(stored()))
    company.knows("CARD_UPDATED", new_number=NEXT, shows_number=False)
    found.append(await updater.ask(stored()))
    found.append(await updater.ask(replace(stored(), exp_month=13)))

    assert found == [
        Outcome.OPTED_OUT,
        Outcome.UP_TO_DATE,
        Outcome.NOT_PARTICIPATING,
        Outcome.NOT_KNOWN,
        Outcome.NOT_KNOWN,
        Outcome.CLOSED,
        Outcome.WITHHELD,
        Outcome.NOT_TAKEN,
    ]


def test_every_status_and_failure_that_is_published_is_read():
    assert {one.value for one in checkout._Status} == set(FIELDS["statuses"])  # noqa: SLF001 - what it reads
    assert set(checkout.FAILURES) == set(FIELDS["failure_codes"])


@pytest.mark.control("UC-T.7")
@pytest.mark.parametrize(
    ("doubt", "status", "known"),
    [
        ("number_unchanged", "CARD_UPDATED", {}),
        ("number_changed", "CARD_EXPIRY_UPDATED", {"new_number": NEXT, "expiry_year": 2031}),
        ("network_changed", "CARD_UPDATED", {"new_number": MASTERCARD}),
        ("first_digits_differ", "CARD_UPDATED", {"new_number": NEXT, "said": {"bin": "401288"}}),
        ("last_digits_differ", "CARD_UPDATED", {"new_number": NEXT, "said": {"last4": "1881"}}),
        ("expiry_no_later", "CARD_EXPIRY_UPDATED", {"shows_number": False}),
        ("expiry_past", "CARD_UPDATED", {"new_number": NEXT, "expiry_year": 2025}),
        ("expiry_too_far", "CARD_UPDATED", {"new_number": NEXT, "expiry_year": 2099}),
        ("expiry_invalid", "CARD_UPDATED", {"new_number": NEXT, "said": {"expiry_month": 13}}),
        ("expiry_invalid", "CARD_UPDATED", {"new_number": NEXT, "said": {"expiry_month": -1}}),
        ("sealed_number_CardFlawed", "CARD_UPDATED", {"new_number": "4242424242424241"}),
        ("sealed_number_CardFlawed", "CARD_UPDATED", {"new_number": "4000"}),
        ("sealed_number_CardFlawed", "CARD_UPDATED", {"new_number": f" {NEXT}"}),
        ("sealed_number", "CARD_UPDATED", {"new_number": NEXT, "sealed_with": ["RSA-OAEP-256", "A128CBC-HS256"]}),
        ("sealed_number", "CARD_UPDATED", {"new_number": NEXT, "said": {"encrypted_card_number": NEXT}}),
        ("sealed_number", "CARD_UPDATED", {"new_number": NEXT, "said": {"encrypted_card_number": ""}}),
        ("sealed_number", "CARD_UPDATED", {"new_number": NEXT, "said": {"encrypted_card_number": "e30.e30.e30.e30.e"}}),
    ],
)  # fmt: skip
async def test_what_cannot_be_the_cards_successor_is_refused_and_says_no_digit(
    updater: CheckoutUpdater, company: Company, doubt: str, status: str, known: dict[str, Any]
):
    company.knows(status, **known)

    with pytest.raises(Implausible) as refused:
        await asked(updater)

    assert refused.value.doubt.startswith(doubt)
    assert not any(digits in repr(refused.value) for digits in (NEXT, APPROVES, known.get("new_number", NEXT)))
    assert refused.value.__cause__ is None


async def test_a_number_sealed_for_somebody_else_is_refused(updater: CheckoutUpdater, company: Company):
    strange = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = strange.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "RSA-OAEP-256", "enc": "A256GCM"}
    theirs = jwe.encrypt_compact(header, NEXT, RSAKey.import_key(pem), algorithms=[*header.values()])
    company.knows("CARD_UPDATED", new_number=NEXT, said={"encrypted_card_number": theirs})

    with pytest.raises(Implausible, match="sealed_number"):
        await updater.ask(stored())


async def test_what_was_told_is_overwritten_by_whoever_was_told(updater: CheckoutUpdater, company: Company):
    company.knows("CARD_UPDATED", new_number=THIRD)
    answer = await updater.ask(stored())
    assert isinstance(answer, Renewed)

    own = successor(stored(), answer, NOW)
    answer.wipe()

    assert answer.number is not None
    with pytest.raises(DigitsWiped):
        answer.number.reveal()
    assert plain(own)[0] == THIRD, "the successor is a card of its own"


@pytest.mark.control("UC-T.7", "UC-L.1")
@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("error_500", UpdaterSilent),
        ("error_503", UpdaterSilent),
        ("not_json", UpdaterSilent),
        ("echo_in_html", UpdaterSilent),
        ("echo_in_redirect", UpdaterSilent),
        ("echo_in_headers", UpdaterBusy),
        ("rate_limit", UpdaterBusy),
    ],
)
async def test_a_failing_or_echoing_updater_is_silent_or_busy_and_its_words_end_here(
    updater: CheckoutUpdater, company: Company, fault: str, raised: type[Exception]
):
    company.fault(fault)

    with pytest.raises(raised) as failure:
        await updater.ask(stored())

    assert str(failure.value) in {"", "60", "120"}
    assert failure.value.__cause__ is None
    assert await updater.ask(stored()) is Outcome.UP_TO_DATE


async def test_an_echo_in_a_refusal_is_only_a_refusal(updater: CheckoutUpdater, company: Company):
    company.fault("echo_card_number")

    assert await updater.ask(stored()) is Outcome.NOT_TAKEN


async def test_it_is_asked_again_when_it_wants_to_be(updater: CheckoutUpdater, company: Company):
    company.fault("rate_limit")
    with pytest.raises(UpdaterBusy) as said:
        await updater.ask(stored())
    company.fault("echo_in_headers")
    with pytest.raises(UpdaterBusy) as nonsense:
        await updater.ask(stored())

    assert (said.value.seconds, nonsense.value.seconds) == (120, 60)


async def test_no_answer_in_time_is_silence(processor: Sandbox, company: Company):
    impatient = built(settings_of(processor), IMPATIENT)
    company.fault("timeout_during_charge")

    with pytest.raises(UpdaterSilent):
        await impatient.ask(stored())
    await impatient.close()


async def test_a_bearer_that_is_refused_is_had_anew_once(updater: CheckoutUpdater, company: Company):
    company.knows("CARD_CLOSED")
    before = await updater.ask(stored())
    company.lock_out()

    assert (before, await updater.ask(stored())) == (Outcome.CLOSED, Outcome.CLOSED)


async def _cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + body)


async def _endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(whole("200 OK", b" " * (1024 * 1024 + 1)))


async def _elsewhere(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(whole("307 Temporary Redirect", b"", b"location: /account-updater/cards"))


async def _unknown(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(whole("200 OK", b'{"account_update_status": "CARD_REBORN"}'))


async def _shut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(whole("401 Unauthorized", b""))


@pytest.mark.parametrize(("behave", "times"), [(_cut, 1), (_endless, 1), (_elsewhere, 1), (_unknown, 1), (_shut, 2)])
async def test_what_is_no_answer_of_theirs_is_silence_and_no_redirect_is_followed(
    processor: Sandbox, behave: Behaviour, times: int
):
    async with hostile(behave) as there:
        updater = built(settings_of(processor, updater_url=there.url))
        with pytest.raises(UpdaterSilent):
            await updater.ask(stored())
        await updater.close()

        assert there.asked == times


async def test_a_login_that_is_no_login_is_silence_and_no_card_is_sent(processor: Sandbox):
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        assert b"4242" not in body
        writer.write(whole("200 OK", b'{"access_token": 7}'))

    async with hostile(nonsense) as there:
        updater = built(settings_of(processor, updater_login_url=there.url))
        with pytest.raises(UpdaterSilent):
            await updater.ask(stored())
        await updater.close()


async def test_a_bearer_is_used_until_shortly_before_it_ends(processor: Sandbox):
    async def answers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        bearers.append(b"grant_type" in body)
        closed = b'{"account_update_status": "CARD_CLOSED"}'
        writer.write(whole("200 OK", LOGIN if b"grant_type" in body else closed))

    bearers, clock = list[bool](), FixedClock(NOW)
    async with hostile(answers) as there:
        settings = settings_of(processor, updater_url=there.url, updater_login_url=there.url)
        updater = build_updater(settings, PATIENT, clock)
        assert updater is not None
        for seconds in (0, 3_500, 100):
            clock.advance(timedelta(seconds=seconds))
            assert await updater.ask(stored()) is Outcome.CLOSED
        await updater.close()

    assert bearers == [True, False, False, True, False], "a login, two inquiries, another login, one inquiry"


def test_settings_of_an_updater_are_all_there_or_none(processor: Sandbox, tmp_path: Path):
    whole_settings = settings_of(processor)
    (tmp_path / "small.pem").write_bytes(_small_key())
    wrong = [
        *({name: type(getattr(whole_settings, name))()} for name in NEEDED[:3]),
        {"updater_key_file": tmp_path / "small.pem"},
        {"updater_key_file": processor.folder / "checkout.secret"},
        {"updater_client_secret_file": tmp_path / "nowhere"},
        {"updater_every_seconds": 0},
        {"updater_daily_max": 0},
    ]

    assert UpdaterSettings().faults() == []
    assert whole_settings.faults() == []
    assert [len(settings_of(processor, **changes).faults()) for changes in wrong] == [1] * len(wrong)
    with pytest.raises(SettingsIncomplete, match="UNDERCROFT_VAULT_UPDATER_LOGIN_URL is missing"):
        load(UpdaterSettings, "vault", {"UNDERCROFT_VAULT_UPDATER_URL": "https://api.example"})


def _small_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    plain_key = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain_key)
