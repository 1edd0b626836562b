"""Who carries a code to a person: the inbox for e-mail, the SMS company for phones."""

from base64 import b64encode
from typing import Final, Protocol
from urllib.parse import urlencode

from gateway.errors import ChallengeImpossible
from infra.chassis.client import PeerClient
from infra.chassis.problems import PeerUnreachable
from infra.chassis.secret import Secret

FORM: Final = "application/x-www-form-urlencoded"
CREATED, BAD_REQUEST = 201, 400


class Courier(Protocol):
    async def send_code(self, *, to: str, brand_name: str, code: str) -> None:
        """Raises PeerUnreachable, also when the message may be lost, and ChallengeImpossible when it cannot arrive."""


class Texts:
    """Twilio's Messages API (https://www.twilio.com/docs/messaging/api/message-resource), or whoever speaks it.

    Its own SDK does no more than this one form, has blocking and asynchronous clients of its own and cannot be told
    another address, so it is not used.
    """

    def __init__(self, client: PeerClient, account: Secret[str], sender: str) -> None:
        """`account` is `ACCOUNT:PASSWORD`; `sender` the E.164 number that texts come from."""
        self._client = client
        self._sender = sender
        sid, _, _ = account.reveal().partition(":")
        self._path = f"/2010-04-01/Accounts/{sid}/Messages.json"
        self._authorization = Secret(f"Basic {b64encode(account.reveal().encode()).decode()}")

    async def send_code(self, *, to: str, brand_name: str, code: str) -> None:
        """Raises ChallengeImpossible for a number that the company does not send to, whatever its reason."""
        body = (
            f"{code} is your code for {brand_name}. It is good for ten minutes. Read it out only if you asked for it."
        )
        answer = await self._client.request(
            "POST",
            self._path,
            content=urlencode({"To": to, "From": self._sender, "Body": body}).encode(),
            content_type=FORM,
            headers={"Authorization": self._authorization.reveal()},
        )
        if answer.status == BAD_REQUEST:
            raise ChallengeImpossible
        if answer.status != CREATED:
            raise PeerUnreachable(code="texting_unreachable", headers={"Retry-After": "2"})
