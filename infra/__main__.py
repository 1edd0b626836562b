"""`python3 -m infra …`: runs on a bare Python and needs nothing installed. Everything else is in infra.cli."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs it with an older Python should be told, not shown a traceback
    sys.stderr.write(
        f"undercroft: this is Python {sys.version.split()[0]}; Python 3.11 or newer is needed. "
        "Try `python3.11 -m infra`.\n"
    )
    sys.exit(1)

from infra.cli import main

sys.exit(main())
