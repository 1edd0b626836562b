"""Who may do what: tokens and the policies they carry. A request needs a capability on its path."""

import re
import secrets
import uuid
from dataclasses import dataclass, field

from infra.sandbox.transit.engine import Document, Refused

DENIED = "1 error occurred:\n\t* permission denied\n\n"
ROOT = "root"
NEEDED = {"GET": {"read"}, "POST": {"create", "update"}, "PUT": {"create", "update"}, "DELETE": {"delete"}}
_RULE = re.compile(r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}')
_LENGTHS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rule:
    path: str
    capabilities: frozenset[str]

    def covers(self, path: str) -> bool:
        """A star at the end stands for anything, as in the real server's policies."""
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path


@dataclass(slots=True)
class Doors:
    tokens: dict[str, list[str]] = field(default_factory=dict)
    """Token → the policies it carries."""
    policies: dict[str, list[Rule]] = field(default_factory=dict)

    def check(self, token: str, method: str, path: str) -> list[str]:
        """The policies of a token that may do this. Raises Refused."""
        carried = self.tokens.get(token)
        if carried is None:
            raise Refused(403, "permission denied")
        rules = [rule for name in carried for rule in self.policies.get(name, [])]
        if ROOT not in carried and not any(rule.covers(path) and rule.capabilities & NEEDED[method] for rule in rules):
            raise Refused(403, DENIED)
        return carried

    def write_policy(self, name: str, text: str) -> None:
        self.policies[name] = [
            Rule(path, frozenset(re.findall(r'"(\w+)"', capabilities))) for path, capabilities in _RULE.findall(text)
        ]

    def create_token(self, asked: Document) -> Document:
        """The `auth` part of the answer."""
        token = f"s.{secrets.token_hex(12)}"
        self.tokens[token] = policies = [str(name) for name in asked.get("policies") or [ROOT]]
        return {
            "client_token": token,
            "accessor": secrets.token_hex(12),
            "policies": policies,
            "token_policies": policies,
            "metadata": None,
            "lease_duration": _seconds(str(asked.get("ttl") or "0s")),
            "renewable": bool(asked.get("renewable", True)),
            "entity_id": "",
            "token_type": "service",
            "orphan": bool(asked.get("no_parent")),
        }

    def look_up(self, token: str, policies: list[str]) -> Document:
        return {
            "accessor": uuid.uuid5(uuid.NAMESPACE_OID, token).hex,
            "creation_time": 0,
            "creation_ttl": 0,
            "display_name": policies[0],
            "entity_id": "",
            "expire_time": None,
            "explicit_max_ttl": 0,
            "id": token,
            "meta": None,
            "num_uses": 0,
            "orphan": True,
            "path": "auth/token/root",
            "policies": policies,
            "ttl": 0,
            "type": "service",
        }


def _seconds(text: str) -> int:
    return int(text[:-1]) * _LENGTHS.get(text[-1:], 1)
