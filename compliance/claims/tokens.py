"""What a token is good for, and who would notice a stolen one."""

from compliance.claims.control import Control

TOKENS = (
    Control(
        id="UC-T.1",
        title="A token is good for what it was ordered for",
        sources=("ASVS 2.3.2", "ASVS 8.2.2"),
        claim="A token is of one brand and one subject, and, where its capture said so, for one charge, until a "
        "moment, for one agent, one currency, an amount or a ceiling. The vault asks this in the transaction that "
        "begins the charge, whatever the gateway decided; of charges at the same moment the database lets one through. "
        "The card is sealed with the terms, so terms widened in the database leave a card that does not open.",
        not_claimed="Anything against who owns the database and deletes the charge by which a token was spent. A token "
        "ordered without terms is limited to its brand and subject only.",
    ),
    Control(
        id="UC-T.2",
        title="A stolen token may be one that tells",
        sources=("NIST SP 800-160 vol. 2 rev. 1, D.3.4 (deception)", "PCI DSS 10.4.1"),
        claim="Canaries look like cards on file, in the database too, and are told from them by a key only. Using one "
        "is answered with the bytes, and after the statements, of a token that is not there; the use is an error in "
        "the log, counted, written down with who used it, and told to the tenant.",
        not_claimed="That a thief uses one. Who has the fingerprint's key as well as the database can tell them; who "
        "joins cards and charges sees that no charge of a canary was ever approved.",
    ),
)
