"""Making a custody key, sharing it out, and putting a file under it: what is computed and written, without a terminal.

A ceremony's statement is the entry of the record and, word for word, what stands in the sealed file as `ceremony`. The
file is replaced in one step and then the record added to; whoever was killed in between left a file that says itself
what is missing in the record, and the next command or start adds it (`settle`).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis import crashpoints
from infra.chassis.canonical import canonical_json
from infra.chassis.keys import custody
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.sealing import joined
from infra.chassis.secret import Secret
from vault.custodians.people import Custodian
from vault.custodians.record import CUSTODY, Entry, Record, signed, signed_by
from vault.custodians.shamir import SharesUnfit, combine, split
from vault.custodians.sheets import CEREMONY_BYTES, LETTERS, VALUE_BYTES, Share

CHECK_VALUE_BYTES: Final = 5
"""Ten digits of hex, for eyes. They are an HMAC under a label of its own and not, as is usual for DES and AES keys, an
encrypted block of zeros: no output of the key's real use is shown. That it fits, the seal itself decides."""

FORMER_PINS_MAX: Final = 2
"""Each one tried is a wrong one to the token, which locks itself after a few; a right one sets its count back."""
PIN_LETTERS: Final = 24
"""120 bits, and short enough for any token."""


class CeremonyUnfit(Exception):
    """Says why a ceremony cannot be held, or a share cannot be taken."""


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds a share. `digest` tells whether it is this share, and nothing about it: it is 256 random bits."""

    number: int
    custodian: str
    public_key: str
    digest: str


class Ceremony(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The statement of a ceremony. `public_key` is the custody's own, `replaces` the ceremony whose shares ended."""

    act: str
    at: datetime
    machine: str
    ceremony: str
    under: str
    threshold: int
    check_value: str
    public_key: str
    shares: list[Holder]
    present: list[str]
    replaces: str | None = None

    def holder(self, custodian: str) -> Holder:
        """Raises CeremonyUnfit."""
        found = next((one for one in self.shares if one.custodian == custodian), None)
        if found is None:
            raise CeremonyUnfit(f"{custodian} has no share of this ceremony")
        return found

    def accept(self, custodian: str, share: Share) -> None:
        """Raises CeremonyUnfit unless this is, bit by bit, the share this custodian was given."""
        holder = self.holder(custodian)
        if share.ceremony.hex() != self.ceremony:
            raise CeremonyUnfit("that is a share of another ceremony")
        if share.number != holder.number:
            raise CeremonyUnfit(f"that is share {share.number}, and {custodian} has share {holder.number}")
        if not hmac.compare_digest(share_digest(share), holder.digest):
            raise CeremonyUnfit("that is not the share that was given out; its letters agree, its value does not")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A custody key that seals nothing yet, and its shares, in the order of those who will hold them."""

    key: Secret[bytes]
    threshold: int
    shares: list[Share]
    holders: Sequence[Custodian]
    ceremony: bytes

    @property
    def check_value(self) -> str:
        return check_value(self.key)

    def entry(
        self,
        *,
        act: str,
        at: datetime,
        machine: str,
        under: Path,
        also: Mapping[str, Custodian],
        replaces: "Old | None",
    ) -> Entry:
        """Signed by all who hold a share, by `also` (who gave the shares of before), and by the custody itself."""
        present = {one.name: one.signing for one in (*also.values(), *self.holders)}
        statement = Ceremony(
            act=act,
            at=at,
            machine=machine,
            ceremony=self.ceremony.hex(),
            under=under.name,
            threshold=self.threshold,
            check_value=self.check_value,
            public_key=key_text(signing_key(self.key).public_key().public_bytes_raw()),
            shares=[_holder(*one) for one in zip(self.shares, self.holders, strict=True)],
            present=sorted(present),
            replaces=None if replaces is None else replaces.ceremony.ceremony,
        )
        return signed(msgspec.to_builtins(statement), {**present, CUSTODY: signing_key(self.key)})

    def wipe(self) -> None:
        for share in self.shares:
            share.wipe()


@dataclass(frozen=True, slots=True)
class Old:
    """The ceremony that holds now, and its key, when enough of its custodians have come."""

    ceremony: Ceremony
    key: Secret[bytes]


@dataclass(slots=True)
class Gathered:
    """Shares of one ceremony as they come in, each from another custodian, each the one he was given."""

    ceremony: Ceremony
    shares: dict[int, Share] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return self.ceremony.threshold - len(self.shares)

    def take(self, custodian: str, share: Share) -> None:
        """Raises CeremonyUnfit."""
        self.ceremony.accept(custodian, share)
        if share.number in self.shares:
            raise CeremonyUnfit(f"{custodian} has given share {share.number} already; another custodian has to come")
        self.shares[share.number] = share

    def take_back(self, share: Share) -> None:
        """It does not count, and its custodian may come again. It is wiped."""
        del self.shares[share.number]
        share.wipe()

    def combined(self) -> Secret[bytes]:
        """The custody key. The shares are wiped. Raises CeremonyUnfit."""
        try:
            found = combine({number: one.value for number, one in self.shares.items()}, self.ceremony.threshold)
        except SharesUnfit as unfit:
            raise CeremonyUnfit(str(unfit)) from None
        finally:
            self.wipe()
        key = Secret(bytes(found))
        if not hmac.compare_digest(check_value(key), self.ceremony.check_value):
            raise CeremonyUnfit("the shares do not give the key of this ceremony")
        return key

    def wipe(self) -> None:
        for share in self.shares.values():
            share.wipe()
        self.shares.clear()


def prepare(holders: Sequence[Custodian], threshold: int) -> Prepared:
    """A fresh custody key and a share of it for each of these people. Raises CeremonyUnfit."""
    if len({one.name for one in holders}) != len(holders) or len({one.public_key for one in holders}) != len(holders):
        raise CeremonyUnfit("each share goes to another custodian")
    key, ceremony = secrets.token_bytes(VALUE_BYTES), secrets.token_bytes(CEREMONY_BYTES)
    try:
        values = split(key, threshold, len(holders))
    except SharesUnfit as unfit:
        raise CeremonyUnfit(str(unfit)) from None
    shares = [Share(ceremony, threshold, number, value) for number, value in sorted(values.items())]
    return Prepared(Secret(key), threshold, shares, holders, ceremony)


def ceremony_of(content: bytes) -> tuple[Entry, Ceremony] | None:
    """The ceremony a sealed file names; None when the file lies open. Raises CeremonyUnfit for what is none."""
    try:
        document = custody.read(content)
        if document is None:
            return None
        entry = msgspec.json.decode(bytes(document.ceremony), type=Entry)
        ceremony = msgspec.convert(entry.statement, Ceremony)
    except (custody.SealedFileDamaged, msgspec.MsgspecError):
        raise CeremonyUnfit("the sealed file does not say which ceremony it is under") from None
    if not signed_by(entry, CUSTODY, key_bytes(ceremony.public_key)):
        raise CeremonyUnfit("the ceremony in the sealed file is not signed by its custody")
    return entry, ceremony


Change = Callable[[bytes], bytes]


def as_it_is(content: bytes) -> bytes:
    """A root that was in use goes on: what it wrapped has to open."""
    return content


def with_another_pin(content: bytes) -> bytes:
    """A PIN nobody has seen, and what holds until a login sets it (infra/chassis/keys/pkcs11.py)."""
    pin = "".join(secrets.choice(LETTERS) for _ in range(PIN_LETTERS))
    return "\n".join((pin, *content.decode().strip().split("\n")[:FORMER_PINS_MAX])).encode()


def put_under(file: RingFile, prepared: Prepared, entry: Entry, change: Change, fresh: Callable[[], bytes]) -> None:
    """Seal what lies open in `file`, or `fresh()` if there is no file. Raises CeremonyUnfit, OSError, RingUnusable."""

    def sealed(before: bytes) -> bytes:
        if custody.read(before) is not None:
            raise CeremonyUnfit("this file is under custody already")
        return custody.seal(prepared.key, canonical_json(entry), change(before))

    crashpoints.reach("custody_before_file")
    if file.path.exists():
        file.rewrite(sealed)
    else:
        file.create(custody.seal(prepared.key, canonical_json(entry), fresh()))
    crashpoints.reach("custody_after_file")


def put_under_another(file: RingFile, old: Old, prepared: Prepared, entry: Entry, change: Change) -> None:
    """Seal under the new key what lies under the old one. Raises CeremonyUnfit, OSError, RingUnusable."""

    def sealed(before: bytes) -> bytes:
        found = ceremony_of(before)
        if found is None or found[1].ceremony != old.ceremony.ceremony:
            raise CeremonyUnfit("another ceremony was held meanwhile")
        return custody.seal(prepared.key, canonical_json(entry), change(holding(old.key).clear(before)))

    crashpoints.reach("custody_before_file")
    file.rewrite(sealed)
    crashpoints.reach("custody_after_file")


def settle(record: Record, content: bytes) -> Ceremony | None:
    """The ceremony a file is under; in the record too, whoever was killed before he wrote it. Raises CeremonyUnfit."""
    found = ceremony_of(content)
    if found is None:
        return None
    record.add(found[0], unless_there=True)
    return found[1]


def holding(key: Secret[bytes]) -> custody.Custody:
    """A custody that opens with this key alone."""
    opened = custody.Custody()
    opened.give(key)
    return opened


def share_digest(share: Share) -> str:
    places = bytes((share.threshold, share.number))
    return hashlib.sha256(joined(b"undercroft custody share 1", share.ceremony, places, bytes(share.value))).hexdigest()


def check_value(key: Secret[bytes]) -> str:
    return _derived(key, b"undercroft custody check value 1")[:CHECK_VALUE_BYTES].hex()


def signing_key(key: Secret[bytes]) -> Ed25519PrivateKey:
    """By which the custody signs: proof that enough shares were together."""
    return Ed25519PrivateKey.from_private_bytes(_derived(key, b"undercroft custody signature 1"))


def _derived(key: Secret[bytes], label: bytes) -> bytes:
    return hmac.new(key.reveal(), label, hashlib.sha256).digest()


def _holder(share: Share, custodian: Custodian) -> Holder:
    return Holder(share.number, custodian.name, key_text(custodian.public_key), share_digest(share))


def key_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def key_bytes(text: str) -> bytes:
    """Empty, which is no key, for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
