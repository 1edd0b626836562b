"""Who a person is, and who speaks for them."""

from compliance.claims.control import Control

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
        "allow, also where it takes a passkey or the phone. Remedies name what can work, and tell strangers nothing.",
        not_claimed="That an unused conversation was left: use is what the gateway decides, not what a person does.",
    ),
)
