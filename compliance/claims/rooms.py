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
        claim="A number typed on the card page is found in no database, log or wire capture of any process but the "
        "vault's, in plain, spaced, base64 or hexadecimal form; no source text but a published test card holds one.",
        not_claimed="That the vault's own memory never holds it: it must, between browser and processor. Python may "
        "keep copies of what its parsers read until that memory is used again.",
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
