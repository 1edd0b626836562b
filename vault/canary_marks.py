"""Which tokens are canaries: the token itself says so, to who has the key, and to nobody who has the database.

The last letters of a canary are a keyed digest of the others, by a key derived from the fingerprint's. So a canary is
told without a query, and one in a dump looks like any token. No other token is given such an end.
"""

import hmac
from typing import Final

from infra.chassis.ids import ALPHABET, BODY_LENGTH, new_id
from infra.chassis.secret import Secret

KIND: Final = "tok"
MARK_LENGTH: Final = 8
"""8 letters of 20: of tokens made before there were marks, one in 25 thousand million is taken for a canary."""
_HEAD_LENGTH: Final = len(KIND) + 1 + BODY_LENGTH - MARK_LENGTH


class CanaryMarks:
    def __init__(self, keys: list[Secret[bytes]]) -> None:
        """`keys`: every version there is of the fingerprint's, the newest last; canaries are made with that one."""
        self._keys = keys

    def is_canary(self, tenant_id: str, token_id: str) -> bool:
        head, mark = token_id[:_HEAD_LENGTH], token_id[_HEAD_LENGTH:]
        told = [hmac.compare_digest(_mark(key, tenant_id, head).encode(), mark.encode()) for key in self._keys]
        return any(told)

    def new_canary(self, tenant_id: str) -> str:
        head = new_id(KIND)[:_HEAD_LENGTH]
        return head + _mark(self._keys[-1], tenant_id, head)

    def new_token(self, tenant_id: str) -> str:
        """Any token but a canary."""
        while True:
            token_id = new_id(KIND)
            if not self.is_canary(tenant_id, token_id):
                return token_id


def _mark(key: Secret[bytes], tenant_id: str, head: str) -> str:
    digest = hmac.digest(key.reveal(), f"undercroft canary 1\n{tenant_id}\n{head}".encode(), "sha256")
    number, letters = int.from_bytes(digest, "big"), []
    for _ in range(MARK_LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)
