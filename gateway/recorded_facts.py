"""From a recorded question back to the facts it was made from: the inverse of `facts.py` and `decide.py`.

Only what a decision reads comes back; names that people see, sealed addresses and evidence were never in the question
and are empty here. Whoever adds something to a question adds it here as well: `test_recorded_facts.py` makes a question
of random facts, facts of the question, and wants the same question again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.callers import Caller, CallerKind
from gateway.cedar import Question
from gateway.contract import AssuranceLevel
from gateway.facts import (
    ApprovalFacts,
    ApprovalState,
    ConversationFacts,
    Entity,
    MandateFacts,
    PersonFacts,
    PurchaseFacts,
    QuoteFacts,
    RefundFacts,
)
from gateway.windows import Relief, Taken, Window


class QuestionUnreadable(Exception):
    """A recorded question is not one that this release asks: something is missing or of another kind."""


def question_of(body: Mapping[str, Any]) -> Question:
    """Of a decision's entry. Raises QuestionUnreadable."""
    try:
        return Question(
            action=body["action"],
            principal=body["principal"],
            resource=body["resource"],
            context=body["context"],
            entities=tuple(body["entities"]),
        )
    except (KeyError, TypeError) as error:
        raise QuestionUnreadable(f"{type(error).__name__}: {error}") from None


def purchase_facts(question: Question, tenant_id: str) -> PurchaseFacts:
    """Raises QuestionUnreadable."""
    return _Reading(question, tenant_id).purchase()


def refund_facts(question: Question, tenant_id: str) -> RefundFacts:
    """Raises QuestionUnreadable."""
    return _Reading(question, tenant_id).refund()


def person_facts(question: Question, tenant_id: str) -> PersonFacts:
    """Raises QuestionUnreadable."""
    return _Reading(question, tenant_id).person()


def tier_of(question: Question) -> int:
    """Of a question about memories. Raises QuestionUnreadable."""
    return _Reading(question, "").tier()


class _Reading:
    def __init__(self, question: Question, tenant_id: str) -> None:
        self._question = question
        self._tenant_id = tenant_id
        self._entities = {_uid(entity): entity["attrs"] for entity in question.entities}

    def purchase(self) -> PurchaseFacts:
        try:
            context = self._question.context
            return PurchaseFacts(
                caller=self._caller(),
                conversation=self._conversation(),
                level=AssuranceLevel(context["level"]),
                cart_sha256=context["cart_sha256"],
                quote=self._quote(),
                mandate=self._mandate() if "mandate" in context else None,
                approval=self._approval() if "approval" in context else None,
                keyed_by_phone=context.get("keyed_by_phone"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(error) from None

    def refund(self) -> RefundFacts:
        try:
            attrs = self._attrs(self._question.resource)
            return RefundFacts(
                caller=self._caller(),
                purchase_id=self._question.resource["id"],
                brand_id=_id(attrs["payee"]),
                subject_id=_id(attrs["buyer"]),
                paid=attrs["paid"],
                refundable_minor=attrs["refundable_minor"],
                amount_minor=self._question.context["amount_minor"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(error) from None

    def person(self) -> PersonFacts:
        try:
            level = AssuranceLevel(self._question.context["level"])
            return PersonFacts(caller=self._caller(), conversation=self._conversation(), level=level)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(error) from None

    def tier(self) -> int:
        try:
            return int(self._attrs(self._question.resource)["tier"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(error) from None

    def _caller(self) -> Caller:
        attrs = self._attrs(self._question.principal)
        return Caller(
            kind=CallerKind(attrs["kind"]),
            client_id=attrs["client_id"],
            tenant_id=self._tenant_id,
            brand_ids=frozenset(_id(brand) for brand in attrs["brands"]),
            scopes=frozenset(attrs["scopes"]),
        )

    def _conversation(self) -> ConversationFacts:
        uid = self._question.context["conversation"]["__entity"]
        attrs = self._attrs(uid)
        return ConversationFacts(
            tenant_id=self._tenant_id,
            conversation_id=uid["id"],
            brand_id=_id(attrs["brand"]),
            brand_name="",
            channel="",
            client_id="",
            subject_id=_id(attrs["subject"]) if "subject" in attrs else None,
            claimed_kind=None,
            claimed_sealed=None,
            closed=False,
            evidence=(),
        )

    def _quote(self) -> QuoteFacts:
        attrs = self._attrs(self._question.resource)
        return QuoteFacts(
            checkout_id=self._question.resource["id"],
            brand_id=_id(attrs["payee"]),
            cart_sha256=attrs["cart_sha256"],
            amount_minor=attrs["amount_minor"],
            currency=attrs["currency"],
            purposes=tuple(attrs["purposes"]),
            expires_at=_moment(attrs["expires_at"]),
        )

    def _mandate(self) -> MandateFacts:
        uid = self._question.context["mandate"]["__entity"]
        attrs = self._attrs(uid)
        return MandateFacts(
            mandate_id=uid["id"],
            subject_id=_id(attrs["subject"]),
            payees=tuple(_id(brand) for brand in attrs["payees"]),
            purposes=tuple(attrs["purposes"]),
            currency=attrs["currency"],
            payment_cap_minor=attrs["payment_cap_minor"],
            day_cap_minor=attrs["day_cap_minor"],
            window=Window(
                seconds=attrs["window_seconds"],
                cap_minor=attrs["window_cap_minor"],
                count_max=attrs["window_count_max"],
            ),
            approval_above_minor=attrs["approval_above_minor"],
            taken=_taken(attrs),
            relief=next((Relief(at=_moment(found["at"]), taken=_taken(found)) for found in attrs["relief"]), None),
            delegates=tuple(attrs["delegates"]),
            revoked=attrs["revoked"],
            expires_at=_moment(attrs["expires_at"]),
        )

    def _approval(self) -> ApprovalFacts:
        uid = self._question.context["approval"]["__entity"]
        attrs = self._attrs(uid)
        return ApprovalFacts(
            approval_id=uid["id"],
            state=ApprovalState(attrs["state"]),
            parameters_sha256=attrs["parameters_sha256"],
            expires_at=_moment(attrs["expires_at"]),
        )

    def _attrs(self, uid: Mapping[str, str]) -> dict[str, Any]:
        attrs: dict[str, Any] = self._entities[uid["type"], uid["id"]]
        return attrs


def _taken(attrs: Mapping[str, Any]) -> Taken:
    return Taken(
        today_minor=attrs["taken_today_minor"],
        in_window_minor=attrs["taken_in_window_minor"],
        bought_in_window=attrs["bought_in_window"],
    )


def _unreadable(error: Exception) -> QuestionUnreadable:
    return QuestionUnreadable(f"{type(error).__name__}: {error}")


def _uid(entity: Entity) -> tuple[str, str]:
    return entity["uid"]["type"], entity["uid"]["id"]


def _id(reference: Entity) -> str:
    return str(reference["__entity"]["id"])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
