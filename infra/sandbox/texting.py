"""The SMS company: Twilio's `POST /2010-04-01/Accounts/{sid}/Messages.json`, whose texts land in the inbox.

Shapes and the numbers that misbehave are Twilio's own: https://www.twilio.com/docs/messaging/api/message-resource and
https://www.twilio.com/docs/iam/test-credentials#test-sms-messages. Its error codes: https://www.twilio.com/docs/api/errors.
"""

import hmac
import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from infra.sandbox.control import json_response
from infra.sandbox.inbox import Inbox, NewMessage
from infra.sandbox.logs import say

API_VERSION = "2010-04-01"
FROM_NUMBER = "+15005550006"  # the test number that may send
BODY_LENGTH_MAX = 1_600
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_FIELDS_MAX = 20
_SEGMENT_LENGTH, _SEGMENT_LENGTH_OF_MANY = 160, 153  # of the GSM alphabet
_TO_MISBEHAVES: Mapping[str, tuple[int, str]] = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: +1500555XXXX"),
    "+15005550002": (21612, "Message cannot be sent with the current combination of 'To' and/or 'From' parameters"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region indicated by 'To'"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}


@dataclass(frozen=True, slots=True)
class Account:
    sid: str
    auth: str

    @classmethod
    def parse(cls, text: str) -> "Account":
        sid, _, auth = text.partition(":")
        return cls(sid, auth)

    def presented_in(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = b64decode(encoded, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, f"{self.sid}:{self.auth}".encode())


def texting(inbox: Inbox, account: Account) -> HTTPRouteHandler:
    @post("/2010-04-01/Accounts/{sid:str}/Messages.json")
    async def create_message(sid: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        if sid != account.sid or not account.presented_in(request.headers.get("authorization", "")):
            return _refusal(401, 20003, "Authenticate")
        try:
            pairs = parse_qsl((await request.body()).decode(), max_num_fields=_FIELDS_MAX, errors="strict")
        except ValueError:
            return _refusal(400, 21602, "Message body is required.")
        form = dict(pairs)
        flaw = _flaw_of(form)
        if flaw is not None:
            return _refusal(400, *flaw)
        now = datetime.now(UTC)
        inbox.add(NewMessage(to=form["To"], subject="", text=form["Body"]), now=now)
        say("text_received")
        return json_response(_message(account, form, now), status=201)

    return create_message


def _flaw_of(form: Mapping[str, str]) -> tuple[int, str] | None:
    to, sender, body = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    checks = (
        (bool(to), 21604, "A 'To' phone number is required."),
        (bool(sender), 21603, "A 'From' phone number is required."),
        (bool(body), 21602, "Message body is required."),
        (len(body) <= BODY_LENGTH_MAX, 21617, "The concatenated message body exceeds the 1600 character limit"),
        (sender == FROM_NUMBER, 21659, "The 'From' number is not a Twilio phone number or short code"),
        (_E164.fullmatch(to) is not None and to != sender, 21211, "Invalid 'To' Phone Number"),
    )
    return next(((code, said) for holds, code, said in checks if not holds), _TO_MISBEHAVES.get(to))


def _message(account: Account, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
    sid = f"SM{secrets.token_hex(16)}"
    uri = f"/{API_VERSION}/Accounts/{account.sid}/Messages/{sid}"
    length = len(form["Body"])
    segments = 1 if length <= _SEGMENT_LENGTH else -(-length // _SEGMENT_LENGTH_OF_MANY)
    moment = format_datetime(now)
    return {
        "account_sid": account.sid,
        "api_version": API_VERSION,
        "body": form["Body"],
        "date_created": moment,
        "date_sent": None,
        "date_updated": moment,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form["From"],
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": str(segments),
        "price": None,
        "price_unit": None,
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"],
        "uri": f"{uri}.json",
    }


def _refusal(status: int, code: int, message: str) -> Response[bytes]:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return json_response({"code": code, "message": message, "more_info": more, "status": status}, status=status)
