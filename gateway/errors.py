"""The gateway's refusals.

Problem
├── CodeRefused            422  a one-time code that does not let anybody in
├── TooManyCodes           429  codes asked for faster than people read them
├── LimitReached           429  requests made faster than agreed
├── ContactPointInvalid    422  not an e-mail address or a phone number
├── ContactPointShared     409  several subjects share it, so it tells nobody apart
├── ChallengeImpossible    409  nobody to send a code to
├── MethodUnavailable      409  this way of proving is not set up for this brand or person
├── TooManyChallenges      429  a person asked faster than people answer
├── ProviderUnusable       503  an OpenID provider that is configured and does not work
├── CallerIdImpossible     409  not a call, or begun without its number
├── ConversationMissing    422  an agent must name its conversation
├── PurchaseUnderWay       409  the same checkout is being paid at this moment
├── PolicyRefused          422  an overlay that does not parse, or does more than restrict
├── PolicyConflict         409  the rules stand otherwise than the caller believes, or may not go that way
├── TooManyPolicies        409  a tenant keeps a bounded number of versions
├── RequestKeyReused       409  the same request key with another amount
├── CardMissing            409  the person has no card on file with the brand
├── ForwardTemplateRefused 422  a body for a destination that it does not take
├── MemoryRefused          422  the memory does not keep such text
├── ListNotDecided         503  the policies for a list cannot be carried out
├── ErrorWhileDeciding     500  what could not be decided is denied, on record
├── RecordUnavailable      503  what cannot be recorded is not decided
└── CosignatureRefused     422  no valid cosignature of a trusted witness on a checkpoint of this record
"""

from collections.abc import Mapping

from infra.chassis.problems import Problem


class CodeRefused(Problem):
    """Wrong, expired, used up and unknown get the same answer."""

    status = 422
    code = "code_refused"
    detail = "That code is wrong, has expired or was used up; ask for a new one."


class TooManyCodes(Problem):
    status = 429
    code = "too_many_codes"
    detail = "Too many codes were asked for; wait before asking again."


class LimitReached(Problem):
    """RFC 9110 section 10.2.3, and draft-ietf-httpapi-ratelimit-headers-10 for the fields and the extra member.

    Waiting `seconds` is enough unless others of the same limit are quicker; a second less is not.
    """

    status = 429
    code = "limit_reached"
    detail = "Requests come faster than this caller may make them; wait and ask again."

    def __init__(self, *, seconds: int = 1, per_minute: Mapping[str, int] | None = None) -> None:
        limits = sorted((per_minute or {}).items())
        headers = {
            "Retry-After": str(seconds),
            "RateLimit": ", ".join(f'"{name}";r=0;t={seconds}' for name, _ in limits),
            "RateLimit-Policy": ", ".join(f'"{name}";q={quota};w=60' for name, quota in limits),
        }
        super().__init__(headers=headers)
        self.extra["violated-policies"] = [name for name, _ in limits]


class ContactPointInvalid(Problem):
    status = 422
    code = "contact_point_invalid"
    detail = "This is not an e-mail address or an international phone number."


class ContactPointShared(Problem):
    status = 409
    code = "contact_point_shared"
    detail = "This contact point cannot tell people apart; use another one."


class ChallengeImpossible(Problem):
    status = 409
    code = "challenge_impossible"
    detail = "This conversation has no contact point that a code could be sent to."


class MethodUnavailable(Problem):
    """The same for a brand without a provider and for a person whom the provider does not know as ours."""

    status = 409
    code = "method_unavailable"
    detail = "This person cannot be asked in this way; use another method."


class TooManyChallenges(Problem):
    status = 429
    code = "too_many_challenges"
    detail = "This person was asked too often; wait before asking again."


class ProviderUnusable(Problem):
    """No credential, a broken one, or metadata that contradicts itself. The log says which."""

    status = 503
    code = "provider_unusable"
    detail = "Signing in this way does not work at the moment; use another way."


class CallerIdImpossible(Problem):
    status = 409
    code = "caller_id_impossible"
    detail = "Caller id is for conversations by voice that began with the caller's number."


class ConversationMissing(Problem):
    status = 422
    code = "conversation_missing"
    detail = "Name the conversation that this request belongs to."


class PurchaseUnderWay(Problem):
    status = 409
    code = "purchase_under_way"
    detail = "This checkout is being paid at this moment; ask again shortly."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class PolicyRefused(Problem):
    """`stage` says who refused it, `finding` why: of the caller's own text, so it may be repeated to the caller."""

    status = 422
    code = "policy_refused"
    detail = "This cannot be laid over the policies; nothing was stored."


class PolicyConflict(Problem):
    """Nothing happened. `active_sha256` says what stands."""

    status = 409
    code = "policy_conflict"
    detail = "The rules do not stand as this request believes, or this version cannot take that step."


class TooManyPolicies(Problem):
    status = 409
    code = "too_many_policies"
    detail = "This tenant keeps as many versions as it may."


class RequestKeyReused(Problem):
    status = 409
    code = "request_key_reused"
    detail = "This request key was used for another amount."


class CardMissing(Problem):
    status = 409
    code = "card_missing"
    detail = "This person has no card on file with this brand."


class ForwardTemplateRefused(Problem):
    status = 422
    code = "template_refused"
    detail = "The destination does not take this template: its form, or a slot somewhere else than registered."


class MemoryRefused(Problem):
    """The memory's own code travels on; its sentence does not."""

    status = 422
    code = "memory_refused"
    detail = "The memory does not keep this; nothing was stored."


class CosignatureRefused(Problem):
    status = 422
    code = "cosignature_refused"
    detail = "This is not a checkpoint of this record with a valid cosignature of a witness trusted here."


class ListNotDecided(Problem):
    """A policy that no query can express, or one that the query and the engine understand differently."""

    status = 503
    code = "list_not_decided"
    detail = "What may be seen in this list cannot be decided at this moment; nothing is shown."


class ErrorWhileDeciding(Problem):
    """The deny that is on record stands in the member `decision`: its id and receipt say where to look."""

    status = 500
    code = "error_while_deciding"
    detail = "This could not be decided, so the answer is no; what went wrong is ours and on record."


class RecordUnavailable(Problem):
    """No record, no allow: the transaction of the decision ends with this, and nothing of it happened."""

    status = 503
    code = "record_unavailable"
    detail = "This could not be recorded, so nothing was decided; try again."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})
