"""The root in AWS KMS, reached through `boto3`: one KMS key for each version, under the alias `<name>-v<n>`.

A wrap, after the frame's six bytes, is KMS's `CiphertextBlob` over the 64 bytes of frame.py. Its encryption context has
one entry, `undercroft`: the SHA-256, in hex, of the frame and `frame.associated`. A digest, because KMS writes contexts
into CloudTrail, where tenants' ids do not belong.

Not for shredding: KMS deletes a key after 7 to 30 days at the earliest and may be asked to keep it until then, so
`destroy_before` refuses. KMS keeps its own count of uses under a key; there is no bound for us to watch.

The service needs kms:ListAliases, and kms:Encrypt and kms:Decrypt on these keys; whoever rotates, kms:CreateKey and
kms:CreateAlias besides. Credentials come from a file in AWS's own form, or as boto3 finds them (an instance's role).
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.chassis.keys import frame
from infra.chassis.keys.frame import Provider
from infra.chassis.keys.probe import PROBED, prove_round_trip
from infra.chassis.keys.protocol import (
    CannotDestroy,
    Description,
    KeyServiceUnfit,
    KeyServiceUnreachable,
    KeyUnusable,
    RootVersion,
    VersionState,
)
from infra.chassis.sealing import joined
from infra.chassis.secret import Secret

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

TRIES: Final = 3
THREADS: Final = 8
NEVER_OPENS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException", "NotFoundException"})
DENIED: Final = "AccessDeniedException"

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Account:
    """`url`: another endpoint than the region's own (a private one, or a test's)."""

    region: str
    key_name: str
    url: str | None = None
    credentials_file: Path | None = None


class KmsKeyService:
    def __init__(self, account: Account, timeout_seconds: float) -> None:
        self._account = account
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="kms")

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        plain = frame.bound(key, context)
        versions = await self._run(self._versions)
        if not versions:
            raise KeyServiceUnreachable(f"KMS has no key under alias/{self._account.key_name}-v1")
        header = frame.header(Provider.KMS, max(versions))
        name, bound = self._alias(max(versions)), encryption_context(header, context)
        answer = await self._run(lambda: self.client.encrypt(KeyId=name, Plaintext=plain, EncryptionContext=bound))
        return header + answer["CiphertextBlob"]

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        wrap = frame.parse(wrapped, Provider.KMS)
        name, bound = self._alias(wrap.version), encryption_context(wrap.header, context)
        return frame.unbound(await self._run(lambda: self._opened(name, wrap.body, bound)), context)

    def version_of(self, wrapped: bytes) -> int:
        return frame.parse(wrapped, Provider.KMS).version

    async def rotate(self) -> int:
        """Of two who rotate at once one gets the alias; the other's key has no name, and the caller is told."""
        version = max(await self._run(self._versions), default=0) + 1
        made = await self._run(lambda: self.client.create_key(Description=f"Undercroft root, version {version}"))
        key_id = made["KeyMetadata"]["KeyId"]
        await self._run(lambda: self.client.create_alias(AliasName=self._alias(version), TargetKeyId=key_id))
        return version

    async def destroy_before(self, version: int) -> None:
        raise CannotDestroy(
            f"AWS KMS deletes keys after days, and not for certain: what is below version {version} is still there"
        )

    async def describe(self) -> Description:
        versions = sorted(await self._run(self._versions))
        states = dict.fromkeys(versions, VersionState.RETIRED) | dict.fromkeys(versions[-1:], VersionState.ACTIVE)
        return Description("kms", tuple(RootVersion(*one) for one in states.items()), can_destroy=False)

    async def prove(self) -> None:
        if await self._run(self._foreign_material):
            raise KeyServiceUnfit("a root key in KMS was brought there from outside, so a copy of it is elsewhere")
        await prove_round_trip(self)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # in a thread

    @cached_property
    def client(self) -> "KMSClient":
        found = botocore.session.get_session()
        if self._account.credentials_file is not None:
            found.set_config_variable("credentials_file", str(self._account.credentials_file))
        bounds = Config(
            connect_timeout=self._timeout_seconds,
            read_timeout=self._timeout_seconds,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            parameter_validation=True,
        )
        return boto3.Session(botocore_session=found, region_name=self._account.region).client(
            "kms", endpoint_url=self._account.url, config=bounds
        )

    def _opened(self, name: str, blob: bytes, bound: dict[str, str]) -> bytes:
        """Raises KeyUnusable. KMS denies access both to whoever may not ask and to a blob that names another key."""
        try:
            return self.client.decrypt(KeyId=name, CiphertextBlob=blob, EncryptionContext=bound)["Plaintext"]
        except ClientError as error:
            if _code(error) == DENIED and self._opens_what_it_seals(name):
                raise KeyUnusable from None
            raise

    def _opens_what_it_seals(self, name: str) -> bool:
        sealed = self.client.encrypt(KeyId=name, Plaintext=PROBED)["CiphertextBlob"]
        return self.client.decrypt(KeyId=name, CiphertextBlob=sealed)["Plaintext"] == PROBED

    def _versions(self) -> set[int]:
        pages = self.client.get_paginator("list_aliases").paginate()
        names = [alias["AliasName"] for page in pages for alias in page["Aliases"] if "TargetKeyId" in alias]
        wanted = re.compile(rf"alias/{re.escape(self._account.key_name)}-v([1-9]\d{{0,8}})")
        return {int(found[1]) for found in map(wanted.fullmatch, names) if found is not None}

    def _foreign_material(self) -> bool:
        found = [self.client.describe_key(KeyId=self._alias(version)) for version in self._versions()]
        return any(one["KeyMetadata"].get("Origin", "AWS_KMS") == "EXTERNAL" for one in found)

    def _alias(self, version: int) -> str:
        return f"alias/{self._account.key_name}-v{version}"

    async def _run(self, ask: Callable[[], _R]) -> _R:
        """Raises KeyUnusable, KeyServiceUnreachable."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, ask)
        try:
            return await asyncio.wait_for(working, self._timeout_seconds)
        except TimeoutError:
            raise KeyServiceUnreachable("KMS did not answer in time") from None
        except ClientError as error:
            if _code(error) in NEVER_OPENS:
                raise KeyUnusable from None
            raise KeyServiceUnreachable(f"KMS answered {_code(error)}") from None
        except BotoCoreError as error:
            raise KeyServiceUnreachable(f"KMS could not be asked ({type(error).__name__})") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def encryption_context(header: bytes, context: bytes) -> dict[str, str]:
    bound = joined(header, frame.associated(Provider.KMS, context))
    return {"undercroft": hashlib.sha256(bound).hexdigest()}
