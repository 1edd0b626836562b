"""Opens what the vault stores, written from vault/FORMAT.md alone: it imports nothing of ours.

Not careful (it compares with `==`, it keeps keys as bytes): it exists to notice when page and code part ways.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
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


def card_file(seed: bytes, content: bytes) -> list[bytes]:
    """The lines of a file of cards sealed with suite 2; HPKE's own steps by RFC 9180, sections 4.1, 5.1 and 7."""
    if content[:17] != b"undercroft cards\x01" or content[17] != 2:
        raise DoesNotOpen
    end = 20 + int.from_bytes(content[18:20], "big")
    head, enc, rest = content[:end], content[end : end + 32], content[end + 80 :]
    key = hpke_x25519(seed, enc, content[end + 32 : end + 80], parts(b"undercroft cards 1", head))
    lines, number, last = b"", 0, False
    while not last:
        kind, length = rest[:1], int.from_bytes(rest[1:5], "big")
        aad = parts(head, number.to_bytes(8, "big"), kind)
        lines += body(key, b"undercroft cards 1", rest[5 : 5 + length], aad)
        number, last, rest = number + 1, kind == b"\x01", rest[5 + length :]
    if rest:
        raise DoesNotOpen
    return lines.split(b"\n")[:-1]


def hpke_x25519(private: bytes, enc: bytes, sealed: bytes, info: bytes) -> bytes:
    mine = X25519PrivateKey.from_private_bytes(private)
    shared, public = mine.exchange(X25519PublicKey.from_public_bytes(enc)), mine.public_key().public_bytes_raw()
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    secret = expand(kem, extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + public, 32)
    context = b"\x00" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    schedule = extract(suite, secret, b"secret", b"")
    key, nonce = expand(suite, schedule, b"key", context, 32), expand(suite, schedule, b"base_nonce", context, 12)
    return gcm(key, nonce, sealed, b"")


def extract(suite: bytes, salt: bytes, label: bytes, given: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + given, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """32 bytes at most, so one block."""
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", "sha256")[:length]
