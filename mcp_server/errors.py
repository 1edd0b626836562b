"""Every refusal of mcp_server.

    Problem (HTTP, before any tool runs)        ToolRefused (inside a tool result, isError)
    ├── BearerRefused        401                ├── ArgumentsInvalid      ├── CheckoutNotFound
    ├── ScopesMissing        403                ├── CardNumberInText      ├── CheckoutPaid
    ├── BearerInUrl          400                ├── HiddenCharacters      ├── PaymentUnderWay
    ├── MethodNotAllowed     405                ├── ProductUnknown        ├── CartChanged
    ├── HandshakeUnknown     404                ├── ChoiceNeeded          ├── AddressMissing
    └── KeysUnavailable      503                ├── NotEnoughStock        ├── AmountNotAccepted
                                                ├── NotDeliveredThere     ├── SignInEnded
                                                ├── PageUnknown           ├── MemoryRefused
                                                └── Unavailable           └── GatewayRefused

A refusal says what to do and never repeats what was sent.
"""

from collections.abc import Sequence

from infra.chassis.problems import Problem


def _challenge(metadata_url: str, scopes: Sequence[str], error: str | None) -> dict[str, str]:
    """RFC 6750 section 3 and RFC 9728 section 5.1: what went wrong, where to read on, what to ask for."""
    parts = [f'error="{error}"'] if error else []
    parts += [f'resource_metadata="{metadata_url}"', f'scope="{" ".join(scopes)}"']
    return {"WWW-Authenticate": f"Bearer {', '.join(parts)}"}


class BearerRefused(Problem):
    """One sentence for every defect: whoever forges learns nothing from the answer."""

    status = 401
    code = "bearer_refused"
    detail = "A valid bearer for this endpoint is needed."

    def __init__(self, *, metadata_url: str, scopes: Sequence[str], presented: bool) -> None:
        super().__init__(headers=_challenge(metadata_url, scopes, "invalid_token" if presented else None))


class ScopesMissing(Problem):
    """Names every scope of the operation, so that the client can ask once for all."""

    status = 403
    code = "insufficient_scope"
    detail = "The bearer does not cover this tool."

    def __init__(self, *, metadata_url: str, scopes: Sequence[str]) -> None:
        super().__init__(headers=_challenge(metadata_url, scopes, "insufficient_scope"))


class BearerInUrl(Problem):
    status = 400
    code = "bearer_in_url"
    detail = "A bearer belongs in the Authorization header, never in the address."


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    detail = "This endpoint answers POST only; it keeps no streams and no sessions open."

    def __init__(self) -> None:
        super().__init__(headers={"Allow": "POST"})


class HandshakeUnknown(Problem):
    """The protocol's answer to a session id we did not give, or gave to someone else: initialize again."""

    status = 404
    code = "handshake_unknown"
    detail = "This Mcp-Session-Id is not valid here; initialize again."


class KeysUnavailable(Problem):
    status = 503
    code = "gateway_unreachable"
    detail = "Bearers cannot be checked at the moment; try again."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class ToolRefused(Exception):
    """`code` for programs, `sentence` for the model and the person."""

    code = "refused"
    sentence = "This cannot be done."

    def __init__(self, sentence: str | None = None, *, code: str | None = None) -> None:
        self.sentence = self.sentence if sentence is None else sentence
        self.code = self.code if code is None else code
        super().__init__(self.code)


class ArgumentsInvalid(ToolRefused):
    code = "arguments_invalid"


class CardNumberInText(ToolRefused):
    code = "card_number_refused"
    sentence = (
        "An argument looks like it holds a card number; nothing was stored. Card details are typed only by the person "
        "on the page that `pay` links to."
    )


class HiddenCharacters(ToolRefused):
    code = "hidden_characters"
    sentence = "An argument holds control, invisible or text-direction characters; send it again without them."


class PageUnknown(ToolRefused):
    code = "page_unknown"
    sentence = "The page cursor does not belong to this search; search again without it."


class ProductUnknown(ToolRefused):
    code = "product_unknown"
    sentence = "There is no such product here; find its sku with search_catalog."


class ChoiceNeeded(ToolRefused):
    code = "choice_needed"
    sentence = "A product comes in several versions; use the sku of one of the offers that get_product lists."


class NotEnoughStock(ToolRefused):
    code = "not_enough_stock"


class NotDeliveredThere(ToolRefused):
    code = "not_delivered_there"
    sentence = "No shipping method of this brand goes to that country, or not the one that was asked for."


class AmountNotAccepted(ToolRefused):
    code = "amount_not_accepted"
    sentence = "The total is more than can be paid in one checkout; split it."


class AddressMissing(ToolRefused):
    code = "address_missing"
    sentence = "The checkout has no delivery address yet; add one with update_checkout, then pay."


class CheckoutNotFound(ToolRefused):
    """Missing and foreign alike."""

    code = "checkout_not_found"
    sentence = "There is no such checkout or order for this person at this brand."


class CheckoutPaid(ToolRefused):
    code = "checkout_paid"
    sentence = "This checkout is paid and cannot change; make a new one for anything else."


class PaymentUnderWay(ToolRefused):
    code = "payment_under_way"
    sentence = "A payment for this checkout is being made; call pay again to learn its outcome before changing it."


class CartChanged(ToolRefused):
    code = "cart_changed"
    sentence = (
        "A price, the tax or the shipping changed since this checkout was made, so nothing was charged. Call "
        "update_checkout without changes to take the new total, show it to the person, and pay again."
    )


class Unavailable(ToolRefused):
    code = "unavailable"
    sentence = "A service needed for this is not answering; nothing was charged unless get_order says so. Try again."


class SignInEnded(ToolRefused):
    code = "sign_in_ended"
    sentence = "The person's sign-in no longer holds; they must connect this assistant again."


class MemoryRefused(ToolRefused):
    """The memory's word on a text, or on its room; the gateway passes its code on."""

    code = "memory_refused"
    sentence = "This is not something that is kept; nothing was stored."


class GatewayRefused(ToolRefused):
    """The gateway answered with a problem this tool has no better words for; its code is passed on."""

    sentence = "The request was refused; nothing was charged by it."
