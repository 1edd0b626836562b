"""What happens to cards keyed in on the telephone."""

from compliance.claims.control import Control

PHONE = (
    Control(
        id="UC-P.1",
        title="No agent makes an order one by telephone",
        sources=("Directive (EU) 2015/2366, recital 95", "ASVS 2.3.2"),
        claim="A charge is told as a telephone order if it is the first of a card that was keyed in during a call "
        "which a carrier's signature shows to be this person's, for a brand whose operator takes such orders, at a "
        "processor whose account is enabled for them. No request, text or member that an agent can send is among "
        "these facts; how the card came in is sealed with it, and the flag is written with the charge's intention and "
        "never changed.",
        not_claimed="That the person meant to order: what was said in the call is not looked at. A bank or a processor "
        "may see it otherwise and decline.",
    ),
    Control(
        id="UC-P.2",
        title="A keyed card is opened by the vault alone",
        sources=("PCI DSS 4.2.1", "RFC 9180"),
        claim="Keyed digits come as an envelope that is sealed for one capture of one tenant, with a schema of its "
        "own, and by a grant bound to that envelope's hash. It opens once, in the vault's process; another capture's, "
        "one that was touched or recorded, and a form of the page do not open. Three tries, each counted before it is "
        "answered; the answer names fields and never a value.",
        not_claimed="What happens before: the media guard that hears the keys is not part of this.",
    ),
    Control(
        id="UC-P.3",
        title="A brand's own rule may refuse telephone orders, or cap them",
        sources=("Directive (EU) 2015/2366, recital 95", "ASVS 8.2.1"),
        claim="Every decision about a purchase is told whether its card is, or is to be, keyed in, as the gateway "
        "looked it up. A policy laid over by the brand may forbid on it, alone or with the amount; the fact is on "
        "record, and the same answer comes out again. Who asks for the card page instead is decided as such.",
        not_claimed="That a rule is there: without one a telephone order is allowed as any other purchase.",
    ),
)
