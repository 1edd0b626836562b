"""By which methods a person can be asked to prove themselves here: looked up, so that no remedy names a vain one.

There are two questions. What a *brand* can ask anybody for follows from how it is set up: codes always, its provider as
it is mapped, the phone where the provider does that, passkeys where the gateway has a host name. What a *person* has
(an account that is linked, a passkey that counts) is read only for a conversation whose person has proven who they are.
Before that the answer is the brand's alone, from the same statement: so nobody learns from a deny what somebody else
has, and a method named to a stranger may still turn out not to be this person's (409 `method_unavailable`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import EVIDENCE_OF, HIGHEST, name_of
from gateway.contract import AssuranceLevel, ChallengeMethod, LevelName
from gateway.decide import Decision
from gateway.facts import ConversationFacts

CODES: Final = frozenset({ChallengeMethod.EMAIL_CODE, ChallengeMethod.SMS_CODE})
STEPS: Final = tuple(level for level in AssuranceLevel if level is not AssuranceLevel.ANONYMOUS)
Methods = Mapping[LevelName, Sequence[ChallengeMethod]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was looked up. `linked` and `has_passkey` are None while nobody has proven to be the person."""

    passkeys: bool
    provider_levels: frozenset[AssuranceLevel]
    """What the provider's word can be worth by configuration; empty without one."""
    phone: bool
    somebody: bool
    """The conversation has a person, proven or shown by caller id: only then there is a phone to ask."""
    linked: bool | None = None
    has_passkey: bool | None = None

    def gives(self, method: ChallengeMethod, level: AssuranceLevel) -> bool:
        if method is ChallengeMethod.PASSKEY:
            return self.passkeys and self.has_passkey is not False
        if level > HIGHEST[EVIDENCE_OF[method]]:
            return False
        if method is ChallengeMethod.OPENID_LOGIN:
            return any(given >= level for given in self.provider_levels)
        if method is ChallengeMethod.PHONE_APPROVAL:
            return self.phone and self.somebody and self.linked is not False
        return method in CODES


def methods_for(setup: Setup) -> Methods:
    """Cheapest first. Confirmed is a passkey on the page that shows the request (`ChallengeRequest.confirm`)."""
    return {name_of(level): [method for method in EVIDENCE_OF if setup.gives(method, level)] for level in STEPS}


class Possible:
    """`passkeys`: browsers know passkeys only for a host name."""

    def __init__(self, *, passkeys: bool) -> None:
        self._passkeys = passkeys

    async def narrow(self, tx: AsyncConnection, decision: Decision, conversation: ConversationFacts) -> Decision:
        """The decision with step-up remedies that name what can work, and on record that they do."""
        levels = decision.steps_up_to
        if not levels:
            return decision
        methods = methods_for(await self._setup(tx, decision, conversation))
        return decision.with_methods({level: methods.get(level, ()) for level in levels})

    async def _setup(self, tx: AsyncConnection, decision: Decision, conversation: ConversationFacts) -> Setup:
        proven = decision.question.context["level"] >= AssuranceLevel.VERIFIED
        person = conversation.person(decision.decided_at)
        key = {"tenant_id": conversation.tenant_id, "brand_id": conversation.brand_id}
        row = (await tx.execute(_SETUP, {**key, "subject_id": person if proven else None})).mappings().one()
        return Setup(
            passkeys=self._passkeys,
            provider_levels=_levels((*row["acr_levels"].values(), *row["amr_levels"].values(), row["unmapped"])),
            phone=row["phone_approval"],
            somebody=person is not None,
            linked=row["linked"] if proven else None,
            has_passkey=row["has_passkey"] if proven else None,
        )


def _levels(names: Iterable[str | None]) -> frozenset[AssuranceLevel]:
    return frozenset(AssuranceLevel[name.upper()] for name in names if name is not None)


_SETUP = text(
    "SELECT coalesce(p.acr_levels, '{}') AS acr_levels, coalesce(p.amr_levels, '{}') AS amr_levels, p.unmapped,"
    " coalesce(p.phone_approval, false) AS phone_approval,"
    " EXISTS (SELECT FROM identity_links l WHERE l.tenant_id = :tenant_id AND l.issuer = p.issuer"
    " AND l.subject_id = :subject_id) AS linked,"
    " EXISTS (SELECT FROM passkeys k WHERE k.tenant_id = :tenant_id AND k.subject_id = :subject_id"
    " AND k.removed_at IS NULL AND k.suspended_at IS NULL) AS has_passkey"
    " FROM (SELECT) one LEFT JOIN openid_providers p ON p.tenant_id = :tenant_id AND p.brand_id = :brand_id"
    " AND p.withdrawn_at IS NULL"
)
