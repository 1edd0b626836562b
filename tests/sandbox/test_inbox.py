"""The inbox: for programs and for a person."""

from datetime import datetime, timedelta

import httpx2
import pytest

from tests.sandbox.running import Sandbox


def send(sandbox: Sandbox, to: str, text: str, subject: str = "Your code") -> httpx2.Response:
    return sandbox.plain.post(f"{sandbox.inbox_url}/messages", json={"to": to, "subject": subject, "text": text})


def test_messages_to_one_person_are_read_newest_first(sandbox: Sandbox):
    send(sandbox, "ada@example.com", "first")
    sent = send(sandbox, "Ada@Example.com", "second")
    send(sandbox, "grace@example.com", "third")

    messages = sandbox.plain.get(f"{sandbox.inbox_url}/messages", params={"to": "ada@example.com"}).json()["messages"]

    assert sent.status_code == 201
    assert [message["text"] for message in messages] == ["second", "first"]
    assert messages[0]["id"] == sent.json()["id"]
    assert datetime.fromisoformat(messages[0]["received_at"]).utcoffset() == timedelta(0)


def test_the_page_shows_the_code_large_and_escapes_what_was_sent(sandbox: Sandbox):
    send(sandbox, "<b>@example.com", "Your code is 482913. <script>alert(1)</script>")

    page = sandbox.plain.get(sandbox.inbox_url, params={"to": "<b>@example.com"})

    assert '<p class="code">482913</p>' in page.text
    assert "<script>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert sandbox.plain.get(f"{sandbox.inbox_url}/_sandbox/style.css").headers["content-type"].startswith("text/css")


def test_an_empty_inbox_says_so(sandbox: Sandbox):
    assert (
        "No messages to nobody@example.com yet" in sandbox.plain.get(f"{sandbox.inbox_url}/?to=nobody@example.com").text
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"to": "a@example.com", "subject": "s"}',
        b'{"to": "", "subject": "s", "text": "t"}',
        b'{"to": 1, "subject": "s", "text": "t"}',
        b'{"to": "a@example.com", "subject": "s", "text": "t", "extra": 1}',
        b'{"to": "a@example.com", "subject": "s", "text": "\xff"}',
    ],
)
def test_a_message_that_is_not_one_is_refused(sandbox: Sandbox, body: bytes):
    answer = sandbox.plain.post(f"{sandbox.inbox_url}/messages", content=body)

    assert answer.status_code == 400


def test_only_the_newest_thousand_messages_are_kept(own_sandbox: Sandbox):
    with httpx2.Client(base_url=own_sandbox.inbox_url) as http:
        for number in range(1_003):
            http.post("/messages", json={"to": "a@example.com", "subject": "s", "text": f"message {number}"})
        messages = http.get("/messages").json()["messages"]

    assert len(messages) == 1_000
    assert (messages[0]["text"], messages[-1]["text"]) == ("message 1002", "message 3")
