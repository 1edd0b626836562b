"""Walls between the rooms."""

from compliance.claims.control import Control

ROOMS = (
    Control(
        id="UC-1.2",
        title="Rooms know each other's contracts only",
        sources=("ASVS 15.2.5",),
        claim="No service imports another one's code except its contract, and no contract brings a framework along.",
        not_claimed="That processes are walled off by the operating system: users and network rules come with issue 4.",
    ),
    Control(
        id="UC-3.1",
        title="Card numbers have one room",
        sources=("PCI DSS 3.2.1", "PCI DSS 3.5.1"),
        claim="A number typed on the card page, charged, refunded, held, disputed or echoed by the processor is found "
        "in no database, write-ahead log, log, metric or wire capture, and in the memory, environment and command line "
        "of no service but the vault, in twelve encodings; PostgreSQL is never told one, not even in a statement; no "
        "source text but a published test card holds one.",
        not_claimed="That the vault's own memory never holds it: it must, between browser and processor. What a "
        "stranger writes into a field of a service passes through that service's memory.",
    ),
    Control(
        id="UC-3.1.1",
        title="Freed memory is overwritten",
        sources=("PCI DSS 3.2.1", "PCI DSS 3.3.1", "CWE-226"),
        claim="Started with the allocators' settings of vault/scrubbing.py, which the runner gives it, the vault keeps "
        "no copy of a number it is done with: its image and its core hold none that came by the card page, in twelve "
        "encodings, also while the browser that posted it unsealed is still there. A vault that is started without "
        "them says so in its log.",
        not_claimed="Anything while a card is on its way, or for the five seconds until the collector comes. Nor that "
        "a number is forgotten that somebody writes into a path or a member's name: routers and decoders remember "
        "those. Nor what a proxy in front of the page keeps of a form that was not sealed.",
    ),
    Control(
        id="UC-3.3",
        title="The card screen",
        sources=("PCI DSS 3.2.1", "PCI DSS 4.2.2"),
        claim="A card number in a chat field, memory or tool argument is refused before it is stored or logged, also "
        "in other scripts' digits, escapes, base64, hexadecimal or words of English, Spanish, French and German, and "
        "with its last part when it is said over up to six turns; between turns no digits are kept. Of disguised "
        "numbers in texts nobody tuned it on at least 97 in 100 are found, of ordinary ones at most 1 in 100 refused.",
        not_claimed="Recall of every disguise: other languages' words, letters between the digits, digits reversed or "
        "glued at both ends, twelve-digit Maestro and ciphers pass. What earlier turns said has gone on before "
        "the last is refused. Turns that reach different workers of the gateway are put together by the memory only.",
    ),
)
