"""A vault whose libraries write all they have to say, raw: `python -m tests.attacks.loud_vault`.

As an operator might who wants to see more than our own log shows: levels down to DEBUG, and a handler of his own, which
writes their texts to the file LIBRARIES_LOG, past everything that makes the vault's own log safe.
"""

import logging
import os
import sys
from typing import Final

LIBRARIES: Final = (
    "aiohttp", "asyncio", "asyncpg", "granian", "_granian", "httpcore2", "httpx2", "litestar", "sqlalchemy", "stripe",
)  # fmt: skip


def listen_in() -> None:
    handler = logging.FileHandler(os.environ["LIBRARIES_LOG"])
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)


if __name__ == "__main__":
    listen_in()
    from vault.__main__ import main  # after it, as the levels are set before the libraries are loaded

    sys.exit(main(sys.argv[1:]))
