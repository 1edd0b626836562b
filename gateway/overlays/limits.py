"""How large and how deep a tenant's text may be, looked at before the engine sees it.

Cedar's parser recurses for each bracket: 300 of them inside each other overflow a 2 MB stack, and that ends the whole
process, not the request (measured with cedarpy 4.12.2). Other long expressions end in "recursion limit reached" while
evaluating, which is a deny.
"""

from collections.abc import Iterator
from typing import Final

from gateway.cedar import PoliciesUnusable
from gateway.contract import OVERLAY_LENGTH_MAX

DEPTH_MAX: Final = 16
"""Our own policies nest three deep; a stack of 2 MB holds 150."""
POLICY_LENGTH_MAX: Final = 1_500
"""Characters of one policy. Our longest has 1,100. In 2,000 a chain of attributes can be so long that Cedar's validator
gives up and calls it valid."""
POLICIES_MAX: Final = 50
"""Of one group: as many again as the longest of ours, three times."""
OPENING, CLOSING = "([{", ")]}"


def require_limits(name: str, text: str) -> None:
    """Raises PoliciesUnusable: too long, too many, too deep, or with characters that hide what a text says."""
    if len(text) > OVERLAY_LENGTH_MAX:
        raise PoliciesUnusable(f"{name}.cedar: longer than {OVERLAY_LENGTH_MAX} characters")
    if not all(character == "\n" or character.isprintable() for character in text):
        raise PoliciesUnusable(f"{name}.cedar: a character that cannot be seen; only line feeds are taken")
    depth = length = policies = 0
    for character in _outside_strings(text):
        length += 1
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif character == ";":
            policies, length = policies + 1, 0
        if depth > DEPTH_MAX:
            raise PoliciesUnusable(f"{name}.cedar, policy {policies + 1}: nests deeper than {DEPTH_MAX}")
        if length > POLICY_LENGTH_MAX:
            raise PoliciesUnusable(f"{name}.cedar, policy {policies + 1}: longer than {POLICY_LENGTH_MAX} characters")
    if policies > POLICIES_MAX:
        raise PoliciesUnusable(f"{name}.cedar: more than {POLICIES_MAX} policies")


def _outside_strings(text: str) -> Iterator[str]:
    """Every character; one inside a string or a remark comes as a space, so that it opens and ends nothing."""
    quoted = remark = False
    before = ""
    for character in text:
        if remark:
            remark = character != "\n"
            before = ""
            yield " "
        elif quoted:
            quoted = character != '"' or before == "\\"
            before = "" if before == "\\" else character
            yield " "
        else:
            quoted = character == '"'
            remark = character == "/" == before
            before = "" if quoted else character
            yield character
