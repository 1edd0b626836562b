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
    Control(
        id="UC-T.3",
        title="Another card under a token is another card as a whole",
        sources=("PCI DSS 3.3.1", "PCI DSS 3.7.5", "ASVS 2.3.3"),
        claim="A person may type another card for a token of his own, on the same page. Number, details, keys, brand, "
        "last four, month and fingerprint change in one transaction, in which the tenant is told and the shredding of "
        "the card before is ordered; the terms stay, and are shown to be those it was sealed with. The new card's "
        "first charge needs its own code. A charge is of the card it was begun with, says so, and is not confirmed "
        "once another card is there. Of two pages for one card the first counts and the other is told.",
        not_claimed="That a confirmation which is on its way to the processor at the moment of the update is called "
        "back. Until a round of the root after it, a dump from before opens the card before.",
    ),
    Control(
        id="UC-T.4",
        title="Cards come from another vault and leave for one sealed, whole and once",
        sources=("PCI DSS 3.3.1", "PCI DSS 3.6.1.2", "PCI DSS 4.2.1", "ASVS 2.3.3", "RFC 9180"),
        claim="A file of cards is sealed by its sender to a key made for one tenant that ends in days. No part of it "
        "can be changed, cut off, repeated, exchanged or brought to another tenant: it is refused before there is a "
        "row. Each line is taken once, whenever the import was killed, through the same checks, seal, fingerprint and "
        "event as a card that is typed; a line with a verification code is refused. The result names no number. All "
        "cards of a tenant leave only sealed, by a command at a terminal, when two custodians have proved themselves "
        "and signed what they were shown; where the root is under custody, by their shares. No route and no grant "
        "leads there.",
        not_claimed="That a file comes from who says so: its digest is shown on both sides to be compared. Anything "
        "against who may read the vault's secrets where the root lies open. That the two processes keep no copy of a "
        "number in their memory until they end, or that the sender's own file of numbers is destroyed.",
    ),
    Control(
        id="UC-T.5",
        title="A card that nobody agreed to keep pays once",
        sources=("EDPB Recommendations 02/2021", "PCI DSS 3.2.1", "ASVS 2.3.2"),
        claim="Every card is asked for with terms. Unless its person ticked on the consent page that it be remembered, "
        "its token is for one payment, of exactly this amount, by the agent that asked, for half an hour. Remembered, "
        "it is for the mandate's currency, up to its cap for one payment, until it ends, and, where an assistant "
        "asked, for that assistant alone. The box is not ticked beforehand; no agent's request has a member for it. "
        "The vault refuses what goes beyond, also to a gateway that was taken over.",
        not_claimed="A gateway that was taken over before a card is typed may order other terms for it. A card of one "
        "payment stays stored, sealed, until it is shredded or purged. Cards kept before this have no terms.",
    ),
    Control(
        id="UC-T.6",
        title="A person may put another card in place of the one that is remembered",
        sources=("ASVS 2.3.3", "PCI DSS 3.3.1"),
        claim="After an expired or refused card, or because the person wants to, the page that is asked for replaces "
        "the card under its token; terms stay. From the next payment on the gateway shows the card that the vault says "
        "it charged. A page that nobody fills in changes nothing; a token that is not this person's is replaced by "
        "nobody, and a card of their own is asked for instead.",
        not_claimed="That the person meant the card that was on file to go: the page says which it is.",
    ),
    Control(
        id="UC-T.7",
        title="A card updater renews a stored card only with what can be its successor",
        sources=("PCI DSS 4.2.1", "PCI DSS 12.8.2", "ASVS 2.3.3"),
        claim="Only where a tenant turned it on, cards on file that end soon or were declined for what they are go to "
        "one company, once a calendar month, noted before they leave. What it answers is put under the token only if "
        "it is a valid number of the same network, fits what is said beside it, and ends in the years to come; else "
        "the card stays as it was. A vault killed at any step leaves the old card or the new one whole, told once. A "
        "card whose account was closed is not charged any more. Nothing the company writes reaches a log, a row or an "
        "exception.",
        not_claimed="That the company answers truly: a number that passes is believed. That it was ever asked itself: "
        "only a double, checked against what it publishes.",
    ),
)
