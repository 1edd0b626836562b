"""The key service: wraps and unwraps keys under a root that callers never hold.

`protocol` says what every provider answers, `frame` what every wrapped key begins with. The providers: `software` (a
file, for one machine), `pkcs11` (a token that never gives the root out), `transit` (HashiCorp Vault, OpenBao) and `kms`
(AWS); `settings` names one, `sparing` stands
before it, `starting` proves it before anything is served. `custody` seals a root file or a token's PIN under a key that
several people have shares of.
"""

from infra.chassis.keys.protocol import (
    KEY_BYTES,
    NONCE_BYTES,
    CannotDestroy,
    Description,
    KeyService,
    KeyServiceUnfit,
    KeyServiceUnreachable,
    KeyUnusable,
    RootSealed,
    RootVersion,
    VersionState,
    new_key,
)
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.keys.software import SoftwareKeyService

__all__ = [
    "KEY_BYTES",
    "NONCE_BYTES",
    "CannotDestroy",
    "Description",
    "KeyService",
    "KeyServiceUnfit",
    "KeyServiceUnreachable",
    "KeyUnusable",
    "RingFile",
    "RootSealed",
    "RootVersion",
    "SoftwareKeyService",
    "VersionState",
    "new_key",
]
