"""Whether the holder of a charge's card may be asked by their bank, and where they come back to. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from vault.cleartext.processors import Payment, PaymentState
from vault.contract import ChargeState
from vault.tables import ChargeRow

FOLDER: Final = "/authentications"


@dataclass(frozen=True, slots=True)
class Asking:
    """Where our pages are, and how long a person has at their bank."""

    page_origin: str
    lasts: timedelta

    def return_url(self, charge_id: str) -> str:
        """Where the bank sends the person's browser. It names the charge, and nothing that anybody could use."""
        return f"{self.page_origin}{FOLDER}/{charge_id}/return"


def may_act(row: ChargeRow, payment: Payment, now: datetime) -> bool:
    """Whether a payment that needs its person is to be left for them.

    Only where somebody is present, there is a page they may be sent to, and their time is not up.
    """
    if payment.state is not PaymentState.NEEDS_AUTHENTICATION or payment.action_url is None or not row.person_present:
        return False
    return row.state != ChargeState.NEEDS_ACTION or (row.action_until is not None and now < row.action_until)
