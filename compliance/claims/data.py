"""Memories, logs and the form of requests."""

from compliance.claims.control import Control

DATA = (
    Control(
        id="UC-7.1",
        title="A service's password opens its own database only",
        sources=("PCI DSS 7.2.5", "PCI DSS 7.2.6"),
        claim="No service's role can connect to another service's database; the vault's cluster knows only the "
        "vault's.",
        not_claimed="Anything about who is root on the database's machine.",
    ),
    Control(
        id="UC-7.2",
        title="A running service cannot alter its tables",
        sources=("PCI DSS 7.2.2", "PCI DSS 7.2.5"),
        claim="The role a service runs under owns nothing, makes nothing, truncates nothing, becomes nobody else, and "
        "can change only the columns its migrations list.",
        not_claimed="Protection from the owner's password, which migrations use and running services do not have.",
    ),
    Control(
        id="UC-7.3",
        title="A tenant's rows are a tenant's",
        sources=("ASVS 8.4.1", "ASVS 8.2.2"),
        claim="Row-level security is on and forced on every table with a tenant but the listed directories; a hostile "
        "query sees nothing of another tenant and nothing at all without one. Another's id is answered as a missing "
        "one.",
        not_claimed="Separate databases for tenants.",
    ),
    Control(
        id="UC-7.4",
        title="Another's id is a missing one",
        sources=("ASVS 8.2.2", "ASVS 8.4.1", "OWASP API1:2023"),
        claim="For every field of the API that takes an id, whatever belongs to another tenant, brand, caller or "
        "person, and what is closed, gets the status, headers and bytes of what never existed, after the same SQL "
        "statements. No owner is taken from a request.",
        not_claimed="Equal times to the microsecond: a page of the database that is in memory answers sooner than one "
        "that is not. That mcp_server, which chooses checkouts' ids itself, cannot see that one is taken.",
    ),
    Control(
        id="UC-7.5",
        title="A list shows what a decision would",
        sources=("ASVS 8.2.2", "OWASP API1:2023"),
        claim="Which rows of a list a caller may see is written in policies, which become the condition of the query; "
        "for random policies, rows and callers it selects what the engine allows row by row. A policy that no query "
        "can express shows nothing. A list that goes on says so.",
        not_claimed="That partial evaluation, which Cedar calls experimental, is right: that is why each row that was "
        "found is decided once more, whole.",
    ),
    Control(
        id="UC-7.6",
        title="Enforcement points are trusted to enforce, not to know",
        sources=("AuthZEN Authorization API 1.0", "ASVS 8.3.1"),
        claim="The AuthZEN listener answers an enforcement point's own bearer and no other, about its tenant's brands "
        "only. Ids name our objects; no property that is sent becomes a fact. What is decided there is recorded.",
        not_claimed="Certification by the OpenID Foundation, whose scenario has decisions follow from properties that "
        "are sent: that is what is refused here.",
    ),
    Control(
        id="UC-M.1",
        title="Recall never exceeds what the level permits",
        sources=("GDPR art. 5(1)(f)", "GDPR art. 25"),
        claim="A memory above the tier that the present assurance permits is not opened, not counted and not hinted "
        "at; the remedy is computed from the question, not from what exists.",
        not_claimed="That rules find every sensitive sentence: what no rule recognises is kept as personal, not as "
        "more.",
    ),
    Control(
        id="UC-M.2",
        title="Forgetting destroys the key",
        sources=("GDPR art. 17",),
        claim="Forgetting a person destroys the key that sealed their memories, and the rows, in one transaction; "
        "what is remembered later is under a new key.",
        not_claimed="Dumps taken before: they open for who also has the root key. The record keeps that something was "
        "decided about a subject id, without any memory's text.",
    ),
    Control(
        id="UC-M.3",
        title="Memories are sealed, one key for each person",
        sources=("GDPR art. 32",),
        claim="A dump of the memory's database shows how many memories of which tier a subject id has, and no text; a "
        "row moved to another person or a lower tier does not open.",
        not_claimed="Protection from who has the root key file and the database.",
    ),
    Control(
        id="UC-L.1",
        title="Logs and errors repeat nothing",
        sources=("PCI DSS 3.5.1", "ASVS 16.2.5", "ASVS 16.5.1"),
        claim="Log lines, problem documents and traces hold no card number, secret, code, bearer or rejected value; "
        "an error that is not ours is a bare 500.",
        not_claimed="What the libraries under us write when they are set to debug by hand.",
    ),
    Control(
        id="UC-E.1",
        title="A request has one meaning",
        sources=("ASVS 2.2.1", "ASVS 1.5.3"),
        claim="Duplicate keys, unknown fields, wrong types, non-finite and oversized numbers, deep nesting and large "
        "bodies are refused at the edge, before anything is done.",
        not_claimed="Protection from a flood of well-formed requests: rates are limited for codes and registrations "
        "only.",
    ),
)
