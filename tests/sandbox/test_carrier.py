"""The telephone company: what comes with a call."""

import pytest

from tests.sandbox.running import Sandbox

CALL = {"caller": "+12155551212", "called": "+12125551213"}


def test_a_call_comes_with_an_identity_header(sandbox: Sandbox):
    answer = sandbox.plain.post(f"{sandbox.inbox_url}/_sandbox/calls", json=CALL)

    identity: str = answer.json()["identity"]
    assert answer.status_code == 201
    assert identity.count(".") >= 2
    assert identity.endswith(';info=<https://certificates.carrier.test/shaken.pem>;alg=ES256;ppt="shaken"')


@pytest.mark.parametrize(
    "call", [{}, {**CALL, "caller": "12155551212"}, {**CALL, "attestation": "D"}, {**CALL, "iat": 1}, [], "x"]
)
def test_what_is_no_call_is_refused(sandbox: Sandbox, call: object):
    assert sandbox.plain.post(f"{sandbox.inbox_url}/_sandbox/calls", json=call).status_code == 400
