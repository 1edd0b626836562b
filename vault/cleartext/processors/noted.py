"""What we had a processor note beside a payment or a refund, as it is read back."""

import msgspec


class Noted(msgspec.Struct, frozen=True):
    """The members that are ours, and nobody else's.

    Not a dictionary: msgspec keeps short names of those for the next document, for as long as the process lives, and
    whoever else writes there may have written a card number as a name. What a struct does not have is passed over.
    """

    tenant_id: str = ""
    charge_id: str = ""
    refund_id: str = ""


NOTHING = Noted()
