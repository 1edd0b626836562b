"""Decisions, grants, keys, limits and the record."""

from compliance.claims.control import Control

DECISIONS = (
    Control(
        id="UC-D.1",
        title="Deciding fails closed",
        sources=("ASVS 8.3.1", "ASVS 16.5.3"),
        claim="Allowed means that the policy engine said so and reported no error. A missing fact, an overflow, an "
        "unusable policy or any exception is a deny, on record as one; the same facts give the same answer.",
        not_claimed="That the policies are the right ones for a brand; they are ten readable lines each for that "
        "reason.",
    ),
    Control(
        id="UC-D.2",
        title="A mandate cannot be overspent",
        sources=("ASVS 2.3.2", "ASVS 2.3.4", "ASVS 15.4.2"),
        claim="Money is reserved in the transaction of the decision; requests at once never take more than the caps, "
        "and denied, failed or unfinished ones give back what they held. Above a threshold the person is asked, about "
        "exactly this payment, and the yes is good for one.",
        not_claimed="A cap over several tenants or currencies of one person; that a person who approves has read.",
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
