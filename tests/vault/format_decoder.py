"""Opens what the vault stores, written from vault/FORMAT.md alone: it imports nothing of ours.

Not careful (it compares with `==`, it keeps keys as bytes): it exists to notice when page and code part ways.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class DoesNotOpen(Exception):
    pass


def parts(*all_parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in all_parts)


def gcm(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise DoesNotOpen from error


def body(key: bytes, label: bytes, sealed: bytes, aad: bytes) -> bytes:
    if len(sealed) < 72:
        raise DoesNotOpen
    random, commitment = sealed[:24], sealed[24:56]
    derived = hmac.new(key, label + random, hashlib.sha512).digest()
    if derived[32:] != commitment:
        raise DoesNotOpen
    return gcm(derived[:32], random[12:], sealed[56:], aad)


def envelope(key: bytes, sealed: bytes, place: dict[str, str]) -> bytes:
    if sealed[:1] != b"\x01" or len(sealed) < 77:
        raise DoesNotOpen
    version = str(int.from_bytes(sealed[1:5], "big"))
    names = [place["tenant_id"], place["token_id"], place["field"], place["schema"], version]
    names += [place["terms"]] if "terms" in place else []
    return body(key, b"undercroft envelope 1", sealed[5:], parts(*(name.encode() for name in names)))


def wrap(roots: dict[int, bytes], holder: int, wrapped: bytes, context: bytes) -> bytes:
    """The key in it; `roots` by version. KMS keeps its own root, so there is nothing to open."""
    if wrapped[:1] == b"\x01" and holder == 1:
        if 1 not in roots:
            raise DoesNotOpen
        return gcm(roots[1], wrapped[1:13], wrapped[13:], b"\x01" + context)
    root = roots.get(int.from_bytes(wrapped[2:6], "big"))
    if wrapped[:2] != bytes([2, holder]) or root is None:
        raise DoesNotOpen
    if holder == 1:
        return body(root, b"undercroft root wrap 2", wrapped[6:], parts(wrapped[:6], context))
    aad = parts(b"undercroft root wrap", wrapped[:2], context)
    bound = gcm(root, wrapped[6:18], wrapped[18:], aad)
    if bound[:32] != hashlib.sha256(parts(b"undercroft bound key", context)).digest() or len(bound) != 64:
        raise DoesNotOpen
    return bound[32:]


def kms_context(first_six: bytes, context: bytes) -> dict[str, str]:
    aad = parts(b"undercroft root wrap", first_six[:2], context)
    return {"undercroft": hashlib.sha256(parts(first_six, aad)).hexdigest()}


def root_file(content: bytes) -> dict[int, bytes]:
    if len(content) == 32:
        return {1: content}
    ring: dict[str, Any] = json.loads(content)
    return {kept["version"]: base64.b64decode(kept["key"]) for kept in ring["versions"]}


def fingerprint(key: bytes, version: int, tenant_id: str, digits: bytes) -> bytes:
    tenant_key = hmac.digest(key, f"undercroft fingerprint {version}\n{tenant_id}".encode(), "sha256")
    return hmac.digest(tenant_key, digits, "sha256")
