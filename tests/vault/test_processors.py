"""One contract for every processor's adapter, over the sandbox that speaks its API, and over a line that is cut."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from infra.chassis.ids import new_id
from tests.sandbox.running import Sandbox
from tests.vault.hostile import Hostile, hostile, whole
from tests.vault.processor_rigs import NAMES, Rig, made, open_rig, order, refund_of, typed
from vault.cleartext.processors import (
    CardRefused,
    DisputeStanding,
    EventRefused,
    PaymentState,
    Processor,
    ProcessorRefused,
    ProcessorSilent,
    RefundStanding,
)
from vault.contract import ChargeReason

APPROVES, DISPUTED, INQUIRY, ASKS = "4242424242424242", "4000000000000259", "4000000000001976", "4000002500003155"
DECLINES = "4000000000000002"


@pytest.fixture(params=NAMES)
async def rig(request: pytest.FixtureRequest, processor: Sandbox) -> AsyncIterator[Rig]:
    async with open_rig(request.param, processor) as opened:
        yield opened


async def test_a_payment_is_opened_once_however_often_it_is_asked_for(rig: Rig):
    one, other = order(), order()

    refs = [await rig.processor.open_payment(one) for _ in range(3)]

    assert len(set(refs)) == 1
    assert await rig.processor.open_payment(other) != refs[0]
    assert (await rig.processor.look_up_payment(refs[0])).state is PaymentState.UNCONFIRMED


@pytest.mark.parametrize(("amount_minor", "currency"), [(7998, "USD"), (500, "JPY"), (1999, "EUR")])
async def test_what_is_taken_is_what_was_ordered_in_minor_units(rig: Rig, amount_minor: int, currency: str):
    opened, payment = await rig.paid(APPROVES, amount_minor=amount_minor, currency=currency)

    seen = await rig.processor.look_up_payment(payment.ref)

    assert (payment.state, seen.state) == (PaymentState.SUCCEEDED, PaymentState.SUCCEEDED)
    assert seen.taken_minor == rig.taken_minor(opened.charge_id) == amount_minor


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (DECLINES, ChargeReason.CARD_DECLINED),
        ("4000000000009995", ChargeReason.INSUFFICIENT_FUNDS),
        ("4000000000009987", ChargeReason.LOST_OR_STOLEN),
        ("4000000000009979", ChargeReason.LOST_OR_STOLEN),
        ("4000000000000069", ChargeReason.EXPIRED_CARD),
        ("4000000000000127", ChargeReason.INCORRECT_VERIFICATION_CODE),
        ("4000000000000119", ChargeReason.PROCESSOR_ERROR),
        ("4100000000000019", ChargeReason.FRAUD_SUSPECTED),
        (ASKS, ChargeReason.AUTHENTICATION_REQUIRED),
    ],
)
async def test_a_refused_card_has_one_reason_whoever_refused_it(rig: Rig, number: str, reason: ChargeReason):
    opened = order()
    ref = await rig.processor.open_payment(opened)

    with pytest.raises(CardRefused) as refused:
        await rig.confirm(opened, ref, number)

    assert refused.value.reason is reason
    assert rig.taken_minor(opened.charge_id) == 0


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        ("pass", PaymentState.SUCCEEDED, None),
        ("fail", PaymentState.DECLINED, ChargeReason.AUTHENTICATION_FAILED),
    ],
)
@pytest.mark.control("UC-C.4")
async def test_a_payment_waits_for_a_holder_who_can_be_sent_to_their_bank_and_ends_as_they_answer(
    rig: Rig, outcome: str, state: PaymentState, reason: ChargeReason | None
):
    opened = order(return_url="https://pay.example/authentications/chg_x/return")
    ref = await rig.processor.open_payment(opened)

    waiting = await rig.confirm(opened, ref, ASKS)
    (found,) = await rig.processor.find_payments(opened.tenant_id, opened.charge_id)
    page = waiting.action_url or ""
    answered = rig.sandbox.plain.post(page, data={"outcome": outcome})
    ended = await rig.processor.look_up_payment(ref)

    assert (waiting.state, waiting.taken_minor) == (PaymentState.NEEDS_AUTHENTICATION, 0)
    assert page.startswith(f"{rig.url}/")
    assert found == waiting
    assert f"url={opened.return_url}" in answered.headers["refresh"]
    assert (ended.state, ended.reason, ended.action_url) == (state, reason, None)


async def test_a_declined_payment_still_says_why_and_can_be_cancelled(rig: Rig):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    with pytest.raises(CardRefused):
        await rig.confirm(opened, ref, "4000000000009995")

    declined = await rig.processor.look_up_payment(ref)
    await rig.processor.cancel_payment(ref)

    assert (declined.state, declined.reason) == (PaymentState.DECLINED, ChargeReason.INSUFFICIENT_FUNDS)
    assert (await rig.processor.look_up_payment(ref)).state is PaymentState.CANCELLED


@pytest.mark.control("UC-C.1")
async def test_a_cancelled_payment_can_never_be_charged(rig: Rig):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    await rig.processor.cancel_payment(ref)

    with pytest.raises(ProcessorRefused):
        await rig.confirm(opened, ref, APPROVES)

    assert rig.taken_minor(opened.charge_id) == 0


async def test_what_was_taken_is_not_cancelled(rig: Rig):
    _, payment = await rig.paid(APPROVES)

    with pytest.raises(ProcessorRefused):
        await rig.processor.cancel_payment(payment.ref)

    assert (await rig.processor.look_up_payment(payment.ref)).state is PaymentState.SUCCEEDED


async def test_held_money_is_taken_in_part_let_go_or_runs_out(rig: Rig):
    held = [(await rig.paid(APPROVES, hold=True))[1] for _ in range(3)]

    settled = await rig.processor.settle_payment(new_id("stl"), held[0].ref, 3_000, "USD")
    await rig.processor.cancel_payment(held[1].ref, new_id("vod"))
    rig.by_hand(f"holds/{held[2].ref}/expire")
    voided, expired = [await rig.processor.look_up_payment(payment.ref) for payment in held[1:]]

    assert {payment.state for payment in held} == {PaymentState.HELD}
    assert (settled.state, settled.taken_minor) == (PaymentState.SUCCEEDED, 3_000)
    assert [(one.state, one.lapsed) for one in (voided, expired)] == [
        (PaymentState.CANCELLED, False),
        (PaymentState.CANCELLED, True),
    ]
    with pytest.raises(ProcessorRefused):
        await rig.processor.settle_payment(new_id("stl"), held[1].ref, 3_000, "USD")


@pytest.mark.control("UC-7.3")
async def test_payments_are_found_by_our_ids_and_never_another_tenants(rig: Rig):
    mine = order()
    theirs = order(charge_id=mine.charge_id, tenant_id="tnt_other", key=f"tnt_other:{mine.charge_id}:open")
    refs = [await rig.processor.open_payment(one) for one in (mine, theirs)]

    found = [await rig.processor.find_payments(one.tenant_id, one.charge_id) for one in (mine, theirs)]

    assert [[payment.ref for payment in one] for one in found] == [[refs[0]], [refs[1]]]
    assert await rig.processor.find_payments("tnt_rig", new_id("chg")) == []


async def test_a_refund_is_made_once_and_found_again(rig: Rig):
    _, payment = await rig.paid(APPROVES)
    asked = refund_of(payment.ref, 3_000)

    before = await rig.processor.find_refund(asked)
    results = [await rig.processor.refund(asked) for _ in range(2)]
    after = await rig.processor.find_refund(asked)

    assert before is None
    assert {result.standing for result in results} == {RefundStanding.SUCCEEDED}
    assert {results[0].ref, results[1].ref} == {after.ref if after else ""}
    with pytest.raises(ProcessorRefused):
        await rig.processor.refund(refund_of(payment.ref, 4_999))


@pytest.mark.parametrize("fault", ["timeout_after_charge", "error_500_after_charge"])
@pytest.mark.control("UC-C.1")
async def test_after_a_lost_answer_the_processor_says_what_it_did_and_does_it_once(rig: Rig, fault: str):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    rig.fault(fault)

    with pytest.raises(ProcessorSilent):
        await rig.confirm(opened, ref, APPROVES, rig.impatient if fault.startswith("timeout") else None)
    with suppress(ProcessorSilent, ProcessorRefused):  # one repeats its answer, the other says it was asked before
        await rig.confirm(opened, ref, APPROVES)

    assert (await rig.processor.look_up_payment(ref)).state is PaymentState.SUCCEEDED
    assert rig.taken_minor(opened.charge_id) == 7998


@pytest.mark.parametrize("fault", ["timeout_before_charge", "error_500", "error_503", "rate_limit", "not_json"])
async def test_no_answer_to_rely_on_is_silence_and_nothing_was_taken(rig: Rig, fault: str):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    rig.fault(fault)

    with pytest.raises(ProcessorSilent):
        await rig.confirm(opened, ref, APPROVES, rig.impatient if fault.startswith("timeout") else None)

    assert rig.taken_minor(opened.charge_id) == 0
    assert (await rig.processor.look_up_payment(ref)).state is PaymentState.UNCONFIRMED


@pytest.mark.control("UC-3.1")
async def test_a_processor_that_repeats_the_number_is_not_repeated(rig: Rig):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    rig.fault("echo_card_number")

    with pytest.raises(CardRefused) as refused:
        await rig.confirm(opened, ref, APPROVES)

    assert refused.value.reason is ChargeReason.INCORRECT_NUMBER
    told = "".join(traceback.TracebackException.from_exception(refused.value, capture_locals=False).format())
    assert APPROVES not in told
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("fault", ["echo_in_headers", "echo_in_html", "echo_in_redirect"])
@pytest.mark.control("UC-3.1")
async def test_a_number_repeated_beside_the_answer_is_not_repeated_and_nobody_goes_where_it_points(
    rig: Rig, fault: str
):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    rig.fault(fault)

    with pytest.raises((CardRefused, ProcessorSilent)) as refused:
        await rig.confirm(opened, ref, APPROVES)

    told = "".join(traceback.TracebackException.from_exception(refused.value, capture_locals=False).format())
    assert APPROVES not in told
    assert refused.value.__cause__ is None
    assert rig.taken_minor(opened.charge_id) == 0


async def test_disputes_stand_as_the_bank_left_them(rig: Rig):
    _, disputed = await rig.paid(DISPUTED)
    _, asked_about = await rig.paid(INQUIRY)
    _, quiet = await rig.paid(APPROVES)
    (opened,) = await rig.processor.disputes_of(disputed.ref)
    (inquiry,) = await rig.processor.disputes_of(asked_about.ref)

    rig.by_hand(f"disputes/{opened.ref}/close", status="won" if rig.name == "stripe" else "WON")
    (won,) = await rig.processor.disputes_of(disputed.ref)

    assert [one.standing for one in (opened, inquiry, won)] == [
        DisputeStanding.OPEN,
        DisputeStanding.INQUIRY,
        DisputeStanding.WON,
    ]
    assert (opened.amount_minor, opened.currency) == (7998, "USD")
    assert await rig.processor.disputes_of(quiet.ref) == []


@pytest.mark.control("UC-3.1")
async def test_an_event_that_names_a_card_number_as_its_tenant_names_none(rig: Rig):
    """It would go into a statement of the database."""
    body = rig.event("int_abcdefgh" if rig.name == "airwallex" else "pi_abcdefgh", f"tnt_{APPROVES}")

    assert rig.processor.read_event(body, rig.signed(body)).tenant_id is None


async def test_an_event_says_whose_payment_it_is_about_if_its_signature_holds(rig: Rig):
    opened = order()
    ref = await rig.processor.open_payment(opened)
    body = rig.event(ref, "tnt_rig")

    event = rig.processor.read_event(body, rig.signed(body))
    again = rig.processor.read_event(body, rig.signed(body))

    assert (event.tenant_id, event.payment_ref, event.kind) == ("tnt_rig", ref, "payment_intent.succeeded")
    assert event.event_id == again.event_id
    for forged in (
        rig.signed(body, secret="another"),
        rig.signed(body, age=301),
        rig.signed(b"{}"),
        "",
        None,
        "t=1,v1=é",
    ):
        with pytest.raises(EventRefused):
            rig.processor.read_event(body, forged)
    for nonsense in (b"{}", b"not json", b"\xff\xfe"):
        with pytest.raises(EventRefused):
            rig.processor.read_event(nonsense, rig.signed(nonsense) if nonsense.isascii() else None)


async def _redirects(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(whole("307 Temporary Redirect", b"", b"location: /elsewhere"))


async def _cut_in_the_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")


async def _cut_in_the_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(whole("200 OK", b'{"id": "int_abcdefgh", "status": "SUCCEEDED"}')[:-8])


async def _hangs_up(_: asyncio.StreamReader, __: asyncio.StreamWriter, ___: bytes) -> None:
    return


async def _never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    await reader.read()


async def _answers_html(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(whole("200 OK", b"<html>" + body, b"content-type: text/html"))


async def _answers_another_shape(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(whole("200 OK", b'{"id": 7, "status": ["succeeded"], "currency": null}'))


async def _answers_an_unknown_state(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(whole("200 OK", b'{"id": "int_abcdefgh", "status": "UNHEARD_OF", "currency": "USD"}'))


async def _hides_a_card_in_its_reference(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(whole("200 OK", f'{{"id": "int_{APPROVES}", "status": "SUCCEEDED", "currency": "USD"}}'.encode()))


async def _answers_without_an_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" " * 65_536)
        try:
            await writer.drain()
        except ConnectionError:
            return


async def _blames_the_gateway_in_html(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(whole("504 Gateway Timeout", b"<html>" + body, b"content-type: text/html"))


HOSTILE = [
    _redirects, _cut_in_the_head, _cut_in_the_body, _hangs_up, _never_ends, _answers_html, _answers_another_shape,
    _answers_an_unknown_state, _hides_a_card_in_its_reference, _answers_without_an_end, _blames_the_gateway_in_html,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("behave", HOSTILE)
@pytest.mark.control("UC-3.1")
async def test_on_a_bad_line_every_call_is_silence_and_is_made_once(
    name: str, behave: Callable[..., Awaitable[None]], caplog: pytest.LogCaptureFixture
):
    async with hostile(behave) as server:
        processor = made(name, server.url, 1 if behave is _never_ends else 10)
        with pytest.raises(ProcessorSilent) as silence:
            await _with_a_card(name, processor)
        await processor.close()

    assert server.asked == 1
    assert silence.value.args == ()
    assert silence.value.__cause__ is None
    assert APPROVES not in caplog.text


async def _with_a_card(name: str, processor: Processor) -> None:
    """The call that carries the card: Stripe's is presenting, Airwallex's is confirming."""
    card, code = typed(APPROVES)
    method_ref = await processor.present_card("key", card, code)
    assert name == "airwallex"
    await processor.confirm_payment("key", "int_abcdefgh", method_ref)


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_there_is_silence(name: str):
    async with hostile(_hangs_up) as server:
        gone: Hostile = server
    processor = made(name, gone.url)

    with pytest.raises(ProcessorSilent):
        await processor.open_payment(order())
    with pytest.raises(ProcessorSilent):
        await processor.look_up_payment("int_abcdefgh" if name == "airwallex" else "pi_abcdefgh")
    await processor.close()
