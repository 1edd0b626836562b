"""Why money was not taken, in our words. Everybody imports them from `vault.contract`."""

from enum import StrEnum


class ChargeReason(StrEnum):
    """Why a charge was not approved; our words, never the processor's text."""

    CARD_DECLINED = "card_declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    LOST_OR_STOLEN = "lost_or_stolen"
    EXPIRED_CARD = "expired_card"
    INCORRECT_NUMBER = "incorrect_number"
    INCORRECT_VERIFICATION_CODE = "incorrect_verification_code"
    VERIFICATION_CODE_MISSING = "verification_code_missing"
    AUTHENTICATION_REQUIRED = "authentication_required"
    """The card's bank wants to ask its holder, and there was no way to have it done."""
    AUTHENTICATION_FAILED = "authentication_failed"
    """The holder refused, or did not show the bank who they are."""
    AUTHENTICATION_EXPIRED = "authentication_expired"
    """Nobody confirmed in time, and the payment was cancelled."""
    FRAUD_SUSPECTED = "fraud_suspected"
    PROCESSOR_ERROR = "processor_error"
    PROCESSOR_UNREACHABLE = "processor_unreachable"
    NEVER_SENT = "never_sent"
    CARD_SHREDDED = "card_shredded"
    """The card was forgotten, by order or long after it expired; another has to be typed."""
    CARD_REPLACED = "card_replaced"
    """Another card was typed under the token while this charge was under way; the next charge is with that one."""
    CARD_CLOSED = "card_closed"
    """Its issuer closed the account and opened no other, as the card updater said; another card has to be typed."""
    PHONE_ORDERS_NOT_TAKEN = "phone_orders_not_taken"
    """The card was keyed in on the telephone, and no processor in line for the charge is allowed such orders."""
    CARD_UNREADABLE = "card_unreadable"
    """What is stored of the card is not what was sealed; it was not sent, and the operator is told."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, no secret
    """Past the time its terms give the token. This and what follows: the terms under which the card was typed."""
    TOKEN_SPENT = "token_spent"  # noqa: S105 - a reason, no secret
    """For one charge only, and another one is approved or under way."""
    TOKEN_NOT_FOR_AGENT = "token_not_for_agent"  # noqa: S105 - a reason, no secret
    TOKEN_NOT_FOR_CURRENCY = "token_not_for_currency"  # noqa: S105 - a reason, no secret
    TOKEN_NOT_FOR_AMOUNT = "token_not_for_amount"  # noqa: S105 - a reason, no secret
