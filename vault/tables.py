"""The vault's rows, as shapes. Columns and rights are explicit SQL in `migrations/versions`; queries are in `store.py`.

No row can hold a card number or a verification code: `sealed_*` is ciphertext, `fingerprint` a keyed hash.
"""

from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """`browser_hash` is the SHA-256 of the secret in the one browser that may use it; `token_id` marks it completed.

    `terms` are the token's, as ordered. With `replaces_card_of` it is for another card under that token, in place of
    the generation that is named; `overtaken` when that one is not there any more. `channel` is one of
    contract.CaptureChannel; by phone there is no browser.
    """

    tenant_id: str
    capture_id: str
    brand_id: str
    subject_id: str
    purchase_id: str
    brand_name: str
    amount_minor: int
    currency: str
    created_at: datetime
    expires_at: datetime
    attempts: int
    browser_hash: bytes | None
    token_id: str | None
    language: str | None
    card_brand: str | None
    last4: str | None
    terms: str | None = None
    earlier_token_id: str | None = None
    replaces_card_of: str | None = None
    replaces_generation: int | None = None
    replaces_brand: str | None = None
    replaces_last4: str | None = None
    overtaken: bool = False
    channel: str = "page"


@dataclass(frozen=True, slots=True)
class CardRow:
    """One token and its card. `on_file_since` is when its first charge was approved.

    A shredded one keeps brand, last four and times; whatever was sealed is empty. `good_through` is the last day of the
    month printed on the card. `fingerprint` is hidden under the tenant's key (vault/fingerprint.py). `terms` are what
    number and details are sealed with (vault/terms.py). `earlier_token_id` is a former token of the same card, as long
    as that one has its `earlier_generation`. `generation` counts the cards there were under the token; `created_at` is
    the token's, and `on_file_since` the present card's.
    """

    tenant_id: str
    token_id: str
    brand_id: str
    subject_id: str
    fingerprint: bytes = field(repr=False)
    fingerprint_version: int
    wrapped_key: bytes = field(repr=False)
    sealed_number: bytes = field(repr=False)
    sealed_details: bytes = field(repr=False)
    card_brand: str
    last4: str
    created_at: datetime
    on_file_since: datetime | None
    sealed_fingerprint: bytes | None = field(default=None, repr=False)
    good_through: date | None = None
    terms: str | None = None
    earlier_token_id: str | None = None
    generation: int = 1
    earlier_generation: int | None = None
    key_version: int | None = None
    shredded_at: datetime | None = None
    closed_at: datetime | None = None
    """When its issuer was found to have closed the account; another card under the token is not closed."""
    key_destroyed_at: datetime | None = None

    @property
    def is_shredded(self) -> bool:
        """Also when all its tenant had was shredded a moment ago, and this row has not been emptied yet."""
        return self.shredded_at is not None or self.key_destroyed_at is not None


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """`state` is `intended` or a member of contract.ChargeState. Until `worked_until` somebody is at work on it.

    `held_first`: it was ordered as a hold. About at `hold_until` the processor lets go of what nobody settled. Brand
    and last four are those of the card it was begun with, whatever card is under the token now.
    """

    tenant_id: str
    charge_id: str
    brand_id: str
    subject_id: str
    purchase_id: str
    token_id: str
    amount_minor: int
    currency: str
    state: str
    reason: str | None
    processor_ref: str | None
    refunded_minor: int
    created_at: datetime
    updated_at: datetime
    worked_until: datetime | None
    held_first: bool
    taken_minor: int
    hold_until: datetime | None
    processor: str
    single_use: bool = False
    """Of a token's one use: the database has one live charge of such a token."""
    card_generation: int = 1
    card_brand: str | None = None
    last4: str | None = None
    by_phone: bool = False
    """A telephone order, and told to the processor as one."""
    person_present: bool = False
    action_until: datetime | None = None
    """Until when a charge in `needs_action` may be confirmed; stays when it has ended."""
    browser_hash: bytes | None = field(default=None, repr=False)
    """SHA-256 of the secret in the one browser that may see it through at the bank."""


@dataclass(frozen=True, slots=True)
class RefundRow:
    """`state` is `intended` or a member of contract.RefundState. `charge_ref` is its processor's name of the charge.

    `key_since`: when its present key at the processor was first used; `asked_at`: when the processor was last asked for
    it, and did not answer (vault/refund_keys.py).
    """

    tenant_id: str
    refund_id: str
    charge_id: str
    amount_minor: int
    currency: str
    state: str
    processor_ref: str | None
    created_at: datetime
    updated_at: datetime
    worked_until: datetime | None
    key_since: datetime
    asked_at: datetime
    charge_ref: str
    processor: str
    refunded_minor: int
