"""The SMS company: shapes and refusals as Twilio documents them."""

from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.dev.settings import TEXTING_FROM
from tests.sandbox.running import TEXTING_ACCOUNT, TEXTING_PASSWORD, Sandbox, make_sandbox

TO = "+14155550123"
FIELDS = {
    "account_sid", "api_version", "body", "date_created", "date_sent", "date_updated", "direction", "error_code",
    "error_message", "from", "messaging_service_sid", "num_media", "num_segments", "price", "price_unit", "sid",
    "status", "subresource_uris", "to", "uri",
}  # fmt: skip


def send(sandbox: Sandbox, *, password: str = TEXTING_PASSWORD, account: str = TEXTING_ACCOUNT, **changes: str):
    form = {"To": TO, "From": TEXTING_FROM, "Body": "482913 is your code", **changes}
    return sandbox.plain.post(
        f"{sandbox.inbox_url}/2010-04-01/Accounts/{account}/Messages.json",
        data={name: value for name, value in form.items() if value},
        auth=(TEXTING_ACCOUNT, password),
    )


def test_a_text_is_answered_as_twilio_does_and_lands_in_the_inbox(sandbox: Sandbox):
    answer = send(sandbox)

    message: dict[str, Any] = answer.json()
    received = sandbox.plain.get(f"{sandbox.inbox_url}/messages", params={"to": TO}).json()["messages"]
    assert (answer.status_code, set(message)) == (201, FIELDS)
    assert (message["status"], message["direction"], message["num_segments"]) == ("queued", "outbound-api", "1")
    assert message["sid"].startswith("SM")
    assert len(message["sid"]) == 34
    assert message["uri"] == f"/2010-04-01/Accounts/{TEXTING_ACCOUNT}/Messages/{message['sid']}.json"
    assert parsedate_to_datetime(message["date_created"]).utcoffset() is not None
    assert received[0]["text"] == "482913 is your code"


def test_a_long_text_is_counted_in_segments(sandbox: Sandbox):
    assert send(sandbox, Body="x" * 161).json()["num_segments"] == "2"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1_601}, 21617),
        ({"From": "+14155550100"}, 21659),
        ({"To": "4155550123"}, 21211),
        ({"To": TEXTING_FROM}, 21211),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550002"}, 21612),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
    ],
)
def test_what_cannot_be_sent_is_refused_with_twilios_code(sandbox: Sandbox, changes: dict[str, str], code: int):
    answer = send(sandbox, **changes)

    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (400, code, 400)
    assert answer.json()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"account": f"AC{'0c' * 16}"}])
def test_another_account_or_password_is_not_let_in(sandbox: Sandbox, changes: dict[str, str]):
    answer = send(sandbox, **changes)

    assert (answer.status_code, answer.json()["code"]) == (401, 20003)


def test_without_an_account_nobody_sends_texts(tmp_path: Path):
    sandbox = make_sandbox(tmp_path)
    del sandbox.environment["UNDERCROFT_SANDBOX_TEXTING_ACCOUNT_FILE"]
    sandbox.start()
    try:
        assert send(sandbox).status_code == 404
    finally:
        sandbox.end()


def test_strangers_are_refused_before_anything_is_read(sandbox: Sandbox):
    url = f"{sandbox.inbox_url}/2010-04-01/Accounts/{TEXTING_ACCOUNT}/Messages.json"

    answer: httpx2.Response = sandbox.plain.post(url, headers={"Host": "evil.example"}, data={"To": TO})

    assert answer.status_code == 403
