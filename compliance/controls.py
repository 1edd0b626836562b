"""The controls: what we claim, on which requirement it rests, and what we do not claim.

Each is tied to tests by `@pytest.mark.control("<id>")`; tests/repo/test_controls.py fails for a control without a test
and for a mark without a control. A control is a claim about this code, tested here. It is no assessment: PCI DSS is
assessed at an organisation, by people who also look at its machines, its staff and its papers.

Numbers without a standard's name are those of PCI DSS v4.0.1; ASVS is OWASP's, version 5.0.0.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`claim` and `not_claimed` are whole sentences that a security officer may quote."""

    id: str
    title: str
    sources: tuple[str, ...]
    claim: str
    not_claimed: str


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
        "in other scripts' digits, base64, hexadecimal or English words.",
        not_claimed='Recall of every disguise: digits spread over several messages, sound-alikes ("for to") and other '
        "languages' words pass at first light.",
    ),
)

CARDS = (
    Control(
        id="UC-3.3.1",
        title="The verification code is never stored",
        sources=("PCI DSS 3.3.1.2", "PCI DSS 3.3.2"),
        claim="A verification code lives sealed in the vault process's memory for ten minutes at most, is taken once "
        "by the first charge, and dies with the process. No table has a column for it.",
        not_claimed="That the operating system never swaps that memory out: locking it is issue 4.",
    ),
    Control(
        id="UC-3.4",
        title="Nobody is shown a card number",
        sources=("PCI DSS 3.4.1",),
        claim="Answers, pages, errors and events name a card by its brand and last four digits; no route, tool or "
        "role gives more.",
        not_claimed="That the person at the keyboard cannot see what they type.",
    ),
    Control(
        id="UC-3.5",
        title="Stored cards are sealed where they lie",
        sources=("PCI DSS 3.5.1", "PCI DSS 3.6.1"),
        claim="Each card is sealed under its own key, that under the tenant's, that under the root; tenant, token, "
        "field and key version are bound in, so a row moved elsewhere does not open; changing any byte is noticed.",
        not_claimed="Protection from who has the root key file and the database: at first light the key service is "
        "software and its root lies beside the vault. A key service of its own is issue 4.",
    ),
    Control(
        id="UC-3.5.1.1",
        title="The fingerprint is keyed",
        sources=("PCI DSS 3.5.1.1",),
        claim="The same card of one tenant has one fingerprint: HMAC-SHA-256 under a key of its own, different for "
        "every tenant, so a dump of fingerprints is not a list of card numbers.",
        not_claimed="Anything once the fingerprint key is stolen too: card numbers are few enough to try them all.",
    ),
    Control(
        id="UC-3.6",
        title="Secrets refuse careless use",
        sources=("PCI DSS 3.6.1", "ASVS 13.3.2"),
        claim="A key, password or card number does not print, log, serialise, copy or compare; one method gives it "
        "out, and every function that calls it is on a reviewed list. Keys come from files only their owner may read, "
        "never from an environment or a command line.",
        not_claimed="Split knowledge, dual control, rotation or a hardware module (PCI DSS 3.6.1.2 to 3.7): issue 4.",
    ),
    Control(
        id="UC-4.2",
        title="Sealed in the browser",
        sources=("PCI DSS 4.2.1", "RFC 9180"),
        claim="Where scripts run, the card leaves the browser only as HPKE ciphertext for one capture and one short- "
        "lived key; without scripts the same form posts over the connection's own protection.",
        not_claimed="Protection from who can change the page itself; and the sandbox runs on loopback without TLS.",
    ),
    Control(
        id="UC-6.4.3",
        title="The card page runs one script, ours",
        sources=("PCI DSS 6.4.3", "ASVS 3.4.3"),
        claim="The page's only script is built reproducibly from committed source, carries its hash, and the policy "
        "allows no other, nothing inline and no other origin.",
        not_claimed="Detection of a page changed on its way to the browser (PCI DSS 11.6.1).",
    ),
)

DECISIONS = (
    Control(
        id="UC-D.1",
        title="Deciding fails closed",
        sources=("ASVS 8.3.1", "ASVS 16.5.3"),
        claim="Allowed means that the policy engine said so and reported no error. A missing fact, an overflow, an "
        "unusable policy or any exception is a deny; the same facts give the same answer.",
        not_claimed="That the policies are the right ones for a brand; they are ten readable lines each for that "
        "reason.",
    ),
    Control(
        id="UC-D.2",
        title="A mandate cannot be overspent",
        sources=("ASVS 2.3.2", "ASVS 2.3.4", "ASVS 15.4.2"),
        claim="Money is reserved in the transaction of the decision; requests at once never take more than the caps, "
        "and denied, failed or unfinished ones give back what they held.",
        not_claimed="A cap over several tenants or currencies of one person.",
    ),
    Control(
        id="UC-D.3",
        title="Nobody names a price, a person or a tier",
        sources=("ASVS 2.2.2", "ASVS 8.2.3"),
        claim="Amount, owner and tier are looked up by the service that owns them; neither a tool's schema nor a "
        "request has a place to write them, and a cart that changed since it was shown is not charged.",
        not_claimed="That a brand's own catalogue has the right prices.",
    ),
    Control(
        id="UC-D.13",
        title="A tenant's rules can only restrict, and only its own decisions",
        sources=("ASVS 8.1.1", "ASVS 8.3.1", "ASVS 8.4.1"),
        claim="What a tenant lays over the policies can turn an allow into a deny and never the other way, decides for "
        "that tenant alone, is swapped without dropping a request, and every decision says by which texts it was made.",
        not_claimed="That a tenant's rules are wise: one may forbid everything, and is warned first.",
    ),
    Control(
        id="UC-D.14",
        title="A recorded decision can be decided again",
        sources=("ASVS 16.2.1", "PCI DSS 10.2.2"),
        claim="From its entry in the record and the policies it names, which are kept, every decision comes out again "
        "with the same bytes: outcome, reasons and remedies. One that does not is named.",
        not_claimed="That the facts were true: they are as they were looked up. Replaying uses today's program; a "
        "release that computes remedies differently reports the older entries as different.",
    ),
    Control(
        id="UC-D.21",
        title="Asking first changes nothing",
        sources=("ASVS 8.2.2",),
        claim="Whether something may be done can be asked before it is done: answered from looked-up facts as the act "
        "would be, recorded, and without reserving, binding or revealing whether a foreign thing exists.",
        not_claimed="That the act will be allowed later: it is decided again when it is asked for.",
    ),
    Control(
        id="UC-C.1",
        title="At most one charge",
        sources=("ASVS 2.3.3",),
        claim="A checkout is charged once or not at all, however often or in parallel it is paid and whichever "
        "service is killed in the middle; an outcome that is not known is a state and is found out at the processor.",
        not_claimed="That the processor keeps its own promise about idempotency keys.",
    ),
    Control(
        id="UC-M.21",
        title="What is prepared is not yet told",
        sources=("ASVS 8.2.2", "ASVS 8.3.1"),
        claim="A recall prepared ahead is shown only through a decision on the final request, in the same conversation "
        "and at the level of that moment; it is used once or thrown away, and the answer is the one an unprepared "
        "recall gives. Preparing tells nothing, and nothing of it reaches a disk or a log.",
        not_claimed="That the operating system never swaps the memory service's memory out, where opened memories "
        "stand for up to 15 seconds.",
    ),
    Control(
        id="UC-G.1",
        title="A grant is for one exact act, once",
        sources=("ASVS 9.1.1", "ASVS 9.2.2", "ASVS 9.2.3"),
        claim="Vault and memory act only on a grant signed by the gateway for this service, action, person and exact "
        "body, for 30 seconds at most, and only once, however it is encoded.",
        not_claimed="Anything against whoever holds the minting key: it mints grants, bound to any sender.",
    ),
    Control(
        id="UC-G.2",
        title="A grant is of use to its sender only",
        sources=("ASVS 10.3.5",),
        claim="A grant names the key of the gateway that sends it (`cnf`), and vault and memory act only with a proof "
        "by that key for this very call, used once, whatever process of theirs is asked.",
        not_claimed="The grant that a person's browser carries to the card page: it is bound to no key, lives 20 "
        "seconds, is used once and opens one form.",
    ),
    Control(
        id="UC-G.3",
        title="Keys rotate without a refused request",
        sources=("ASVS 11.1.1", "ASVS 13.3.4"),
        claim="The keys of bearers and grants rotate with overlap while requests run, none of which is refused for it; "
        "a key that is gone, private or of another kind checks nothing.",
        not_claimed="Handing the public keys to vault and memory: whoever runs them copies a file. Keys are files, "
        "not yet in a key service.",
    ),
    Control(
        id="UC-R.1",
        title="Nobody asks more often than agreed",
        sources=("ASVS 2.4.1", "ASVS 15.2.2"),
        claim="Requests are counted by tenant, agent, operation and subject over all processes, whatever bearer they "
        "come with; a refused one reads no body and asks no database, and says truly how long to wait.",
        not_claimed="Floods of requests without a valid bearer: they are for whatever stands in front of the gateway. "
        "In a window that begins anywhere, each process may add one lease to what flowed in.",
    ),
    Control(
        id="UC-10.3",
        title="The record shows every change",
        sources=("PCI DSS 10.2.2", "PCI DSS 10.3.2", "PCI DSS 10.3.4", "ASVS 16.3.2"),
        claim="Every allow and deny is written in the decision's own transaction, with what it takes to decide again, "
        "and sealed into a Merkle tree whose signed checkpoints find edits, gaps, reordering and truncation.",
        not_claimed="Against who holds database and signing key at once: only checkpoints kept elsewhere show that. "
        "The newest second is not sealed.",
    ),
    Control(
        id="UC-10.4",
        title="Others can check the record",
        sources=("PCI DSS 10.3.3", "PCI DSS 10.3.4", "ASVS 16.4.2"),
        claim="The tree is served in published forms (RFC 9162 proofs, C2SP tiles, checkpoints and cosignatures); an "
        "export is checked offline with nothing but keys, and every edit, gap, addition, repetition and move in it is "
        "named by its place.",
        not_claimed="That anybody does: no outside witness is configured, and a record cut off at its end shows only "
        "against a checkpoint that was kept elsewhere.",
    ),
)

PEOPLE = (
    Control(
        id="UC-8.1",
        title="Assistants get in by OAuth 2.1, for one brand",
        sources=("ASVS 10.4.1", "ASVS 10.4.2", "ASVS 10.4.3", "ASVS 10.4.5", "ASVS 10.4.6", "RFC 9700"),
        claim="Redirects compared exactly (but for a loopback port), PKCE S256, codes good for a minute and once, "
        "refresh bearers that rotate and end the family when one is used twice, bearers for one endpoint that are "
        "never passed on.",
        not_claimed="Client ID metadata documents and sender-constrained bearers: not there yet.",
    ),
    Control(
        id="UC-8.2",
        title="A caller proves a key",
        sources=("ASVS 9.1.2", "ASVS 9.1.3", "ASVS 9.2.1", "RFC 7523", "RFC 8725"),
        claim="Agents and mcp_server sign a single-use assertion with their own key; every bearer names its type, "
        "issuer, one audience and one algorithm that the header cannot choose.",
        not_claimed="That a caller's key is kept well where it runs.",
    ),
    Control(
        id="UC-8.3",
        title="One-time codes are hard to guess and good once",
        sources=("ASVS 6.5.1", "ASVS 6.5.3", "ASVS 6.6.2", "ASVS 6.6.3"),
        claim="Six random digits, five tries, ten minutes, for the request they were made for; limits on sending; "
        "stored only keyed; known and unknown addresses see the same.",
        not_claimed="ASVS 6.6 as a whole, which does not accept e-mail as a factor, and NIST's second level: a code "
        "by e-mail or SMS raises a person to `verified` and never above. That a text cannot be redirected by whoever "
        "takes over the phone number.",
    ),
    Control(
        id="UC-8.4",
        title="Only its own person passes the door to a card page",
        sources=("ASVS 8.2.2", "MCP 2026-07-28 elicitation"),
        claim="The link carries no secret. Whoever opens it must be logged in as the person who asked; the vault's "
        "page opens for one browser, by a grant that lives for seconds.",
        not_claimed="That the person is alone at their screen.",
    ),
    Control(
        id="UC-8.5",
        title="A login at an OpenID provider is checked to the last claim and never attaches to another person",
        sources=(
            "ASVS 10.5.1",
            "ASVS 10.5.2",
            "ASVS 10.5.4",
            "OpenID Connect Core 1.0 3.1.3.7",
            "RFC 9207",
            "RFC 9700",
        ),
        claim="PKCE, state and nonce of the browser that left; one issuer, audience and algorithm; a fresh login; the "
        "level by configuration, never above strong; one person there is one subject here.",
        not_claimed="That nobody was talked into signing in for another's conversation: there is a code to compare.",
    ),
    Control(
        id="UC-8.6",
        title="A passkey is used for one page, in one browser, once, and a mailbox alone does not add a second one",
        sources=("ASVS 6.3.3", "Web Authentication level 3", "NIST SP 800-63B-4 3.2.5", "NIST SP 800-63B-4 4.2"),
        claim="Challenge, origin, relying party, person and counter are checked; what is confirmed is shown and bound; "
        "the mailbox is told of each passkey added or removed; a removed one is not replaced by login for a week.",
        not_claimed="That a synced passkey was not copied with its account, or who holds the device.",
    ),
    Control(
        id="UC-8.7",
        title="An approval on the phone is this person's, for this conversation, and asked for sparingly",
        sources=("OpenID CIBA Core 1.0", "NIST SP 800-63B-4 3.1.3"),
        claim="The answer names the linked person and this request; polled no faster than allowed, by any number of "
        "processes; five an hour; refused, expired, replayed and wrong answers leave no evidence.",
        not_claimed="That whoever pressed Approve compared the code on the phone with the one they were told.",
    ),
    Control(
        id="UC-8.8",
        title="Caller id is a carrier's signature and never an agent's word",
        sources=("RFC 8225", "RFC 8226", "RFC 8588"),
        claim="Checked to a trusted root without fetching anything, a minute old at most, for this caller and this "
        "brand's number, once in the house. Attestation A for one person's line recognises them; everything else "
        "gets one answer. Recognised may be greeted: no purchase, no memory above tier 1.",
        not_claimed="That whoever holds the phone is its owner; revocation lists of certificates.",
    ),
    Control(
        id="UC-8.9",
        title="Evidence ages, and what is missing is said in standard words",
        sources=("NIST SP 800-63B 4.2.3", "RFC 9470"),
        claim="A level ends at its greatest age or when evidence lies unused, and asking again does not wake it; it "
        "ends when a contact point is shared; confirmed is for one request and one decision. A deny that a better "
        "proof would turn carries an RFC 9470 challenge, by HTTP and in an MCP result, and following it ends in an "
        "allow.",
        not_claimed="That an unused conversation was left: use is what the gateway decides, not what a person does.",
    ),
)

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

CONTROLS = {control.id: control for control in (*ROOMS, *CARDS, *DECISIONS, *PEOPLE, *DATA)}
