"""What happens to card numbers, codes and money at the vault."""

from compliance.claims.control import Control

CARDS = (
    Control(
        id="UC-3.3.1",
        title="The verification code is never stored",
        sources=("PCI DSS 3.3.1.2", "PCI DSS 3.3.2"),
        claim="A verification code lives sealed in the vault process's memory for ten minutes at most, is taken once "
        "by the first charge, and dies with the process; its place is overwritten when it is taken, expires or the "
        "card's bank has answered. That memory is in no core file and no child process, and kept out of swap where the "
        "machine has room for it, which a metric tells. No table has a column for it; a charge that needs it and has "
        "none is refused and never sent.",
        not_claimed="That the copies which the form's parser and the processor's SDK make on its way are overwritten: "
        "they lie in freed memory until that is used again.",
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
        not_claimed="Split knowledge and dual control where nobody has held a ceremony: UC-3.6.1.2.",
    ),
    Control(
        id="UC-3.7",
        title="Keys have a life, and an end",
        sources=("PCI DSS 3.7.4", "PCI DSS 3.7.5", "NIST SP 800-57 part 1 rev. 5, 5.3.6 and 7"),
        claim="A tenant's key seals for its period and its number of seals and no longer; it is rotated before either "
        "ends. A retired key opens and seals nothing, which the database enforces; a key with nothing under it is "
        "destroyed. Cards move to the next key while they are charged, and every such act is written down.",
        not_claimed="That a root held by others (a cloud's key service) is destroyed when it says so.",
    ),
    Control(
        id="UC-3.6.1",
        title="The root is held where it cannot be copied",
        sources=("PCI DSS 3.6.1.1", "PCI DSS 3.6.1.2", "PCI DSS 3.7.2", "NIST SP 800-57 part 1, 8.2"),
        claim="The root lies in a file, a PKCS#11 token, a transit engine or AWS KMS; all four keep one contract. In "
        "the last three it cannot be taken out by us, a key service that would open a key in another context stops "
        "the start, and every wrap is bound to its context on our side too.",
        not_claimed="Anything about a file that is not under custody (UC-3.6.1.2): whoever copies it has the root. Nor "
        "that a remote service forgets the tenant keys it is shown, or that its backups forget what it destroyed.",
    ),
    Control(
        id="UC-3.6.1.2",
        title="No one person can open the root",
        sources=("PCI DSS 3.6.1.2", "PCI DSS 3.7.6", "NIST SP 800-57 part 2 rev. 1, 2.3.9"),
        claim="A root file, or the PIN of a token, can be put under a custody key that is shared out among two to ten "
        "custodians, each share as long as the key (Shamir). Such a vault starts sealed and answers 503 until as many "
        "as were set have each given their own share, proved by a passphrase and a signature; it is opened in memory "
        "only. Shares are typed at a terminal, unseen, into a process whose memory no other of its user may read, and "
        "shown once; who did what when, with which check value, is in a record of signed, chained lines. Left or "
        "killed at any step, a ceremony is wholly done or not at all.",
        not_claimed="That two custodians are two people: those in the room see to it. Anything against root on the "
        "machine while the vault is open, a terminal that records, the first second of a ceremony that is not begun by "
        "root but by the vault's user, or who finds enough sheets of paper and a copy of the file. A token's SO PIN "
        "sets a new PIN, and is not under custody.",
    ),
    Control(
        id="UC-3.7.5",
        title="Shredded is gone, also from older dumps",
        sources=("PCI DSS 3.7.5", "PCI DSS 3.2.1", "NIST SP 800-88 rev. 1, 2.5 (cryptographic erase)"),
        claim="A shredded card cannot be charged from that moment. After a round, a dump taken before opens it neither "
        "with all of today's keys nor by trying numbers against its fingerprint, while its neighbours still open; "
        "killed at any step, a round ends so. What is final and since when is written down.",
        not_claimed="Anything against a copy of the root from before the round: in a backup, a snapshot, old shares. "
        "Nor that a key service which cannot destroy has done so: the round then says it is not final.",
    ),
    Control(
        id="UC-3.2.1",
        title="What is not needed is not kept",
        sources=("PCI DSS 3.2.1",),
        claim="Cards expired for the set number of months are shredded, and from the first of the next month those for "
        "one charge that was made; spent captures, handled events and old inquiries at the card updater are deleted, "
        "every day and by order, with counts written down; nothing is opened to find them.",
        not_claimed="Charges, refunds and the ledger, which hold no card, are kept without end.",
    ),
    Control(
        id="UC-10.2",
        title="Acts on keys are written down",
        sources=("PCI DSS 10.2.1.2", "PCI DSS 10.2.2", "PCI DSS 3.7.1"),
        claim="Rotations, shreddings, purges, rounds and destructions are added, in the transaction that does them, to "
        "a table nobody may change: who, when, what, and how it ended.",
        not_claimed="That the owner of the database cannot rewrite it; and who is asking is what the machine says.",
    ),
    Control(
        id="UC-4.2",
        title="Sealed in the browser",
        sources=("PCI DSS 4.2.1", "RFC 9180"),
        claim="Where scripts run, the card leaves the browser only as HPKE ciphertext for one tenant, capture, suite "
        "and short-lived key, with X-Wing (post-quantum) where the browser can and X25519 where it cannot, and opens "
        "once. Without scripts the same form posts over the connection's own protection.",
        not_claimed="Protection from who can change the page or its keys on the way; and the sandbox runs on loopback "
        "without TLS.",
    ),
    Control(
        id="UC-6.4.3",
        title="The card page runs one script, ours",
        sources=("PCI DSS 6.4.3", "ASVS 3.4.3"),
        claim="The page's only script is built reproducibly from committed source, which CI does again and compares; "
        "it stands in an inventory with its reason, its parts and its hash, carries that hash, and the policy allows "
        "no other, nothing inline and no other origin.",
        not_claimed="The gateway's page before it: its one line of script is allowed by its hash, in no inventory.",
    ),
    Control(
        id="UC-11.6.1",
        title="A card page that was changed on its way is noticed",
        sources=("PCI DSS 11.6.1", "ASVS 3.4.7"),
        claim="A command compares every byte, header and file of a page as a browser receives it with the committed "
        "inventory and names each difference; what the policy stops in people's browsers is reported to the vault, "
        "counted and said in its log, bounded in size and rate and without anything of the card.",
        not_claimed="That the command is run: a timer elsewhere must. Pages tampered with for chosen people only, and "
        "public keys swapped by who can rewrite pages, which are new every quarter of an hour.",
    ),
    Control(
        id="UC-F.1",
        title="A stored card leaves for registered destinations only",
        sources=("PCI DSS 1.4.4", "PCI DSS 3.4.1", "ASVS 1.3.6", "CWE-918"),
        claim="A card is sent to one fixed address, method and place in the body, registered by the tenant's operator "
        "as the owner of the database, for named agents of one brand; the serving process cannot register any. The "
        "name is looked up once, private addresses and certificates of others are refused, redirects are not "
        "followed. A tenant whose name server is silent holds up no other's. It is sent at most once for an order; "
        "what is not known is said to be unknown. The answer is shown only after the number, in the writings listed in "
        "a test, was removed, and withheld in doubt.",
        not_claimed="Anything about the card at the destination, which has it. That a destination which wants to tell "
        "the agent a number cannot: it can cipher it. Limits on how often an agent forwards, beyond its request rate.",
    ),
    Control(
        id="UC-C.2",
        title="Money is in a balanced, append-only ledger",
        sources=("PCI DSS 10.3.2", "ASVS 2.3.3"),
        claim="Every charge, hold, settlement, refund and dispute posts balanced entries in the transaction that "
        "writes its outcome. The database refuses an outcome without its posting, a posting out of balance, an entry "
        "added later, a move between states that is not listed and a refund above what was taken; the service's role "
        "can add entries and neither change nor remove any. A command makes the sums again and names what differs.",
        not_claimed="That the processor pays out what the ledger says: its fees and payouts are not in it. That who "
        "owns the database cannot rewrite both sides alike.",
    ),
    Control(
        id="UC-C.3",
        title="A second processor never charges a second time",
        sources=("ASVS 2.3.3",),
        claim="A charge is given to another processor only after the one before it opened no payment that anybody can "
        "confirm, or cancelled what it had opened and said so. From the call that may charge on nobody follows, and a "
        "charge whose outcome is unknown stays where it is until that processor was asked. The database holds one live "
        "attempt a charge and takes an approval from no other; refunds go to the processor that charged.",
        not_claimed="That a processor which says that it cancelled did. That an outage is noticed at once: a breaker "
        "opens after five silences, in each process by itself.",
    ),
    Control(
        id="UC-C.4",
        title="What a bank asks its cardholder is answered at the bank, and believed from the processor",
        sources=("EMV 3-D Secure", "ASVS 2.3.3", "CWE-601"),
        claim="A charge whose card's bank wants to ask is live and takes nothing until the processor, asked by us, "
        "says that it took or held the money; what a browser brings back, and what an event says, is not read. The "
        "way there opens for the charge's own person in one browser and leads to listed origins over https only. "
        "Unanswered, it is cancelled at the processor before it is called declined. Its end is written once.",
        not_claimed="How well the bank knows its cardholder, or that a payment so confirmed cannot be disputed. That "
        "every bank's page is on the processor's listed origin: where it is not, the charge is declined.",
    ),
    Control(
        id="UC-C.5",
        title="A refund is made once, and nothing unknown is asked for under a second key",
        sources=("ASVS 2.3.3",),
        claim="What is asked of a processor keeps its idempotency key while an earlier request may still be carried "
        "out, however long that request is in the processor's hands and in none of its lists. A refund gets another "
        "key only when the processor, asked by our id, does not know it, its key is 23 hours old and the last "
        "unanswered request two; the database refuses an earlier one. A refusal ends it only when no other request of "
        "it can act. What may change its key sooner, the end of a hold, takes nothing twice whatever the key.",
        not_claimed="That a processor does not carry out a request more than two hours after it was cut off. That it "
        "keeps a key for a day, as it says it does.",
    ),
    Control(
        id="UC-W.1",
        title="Tenants are told what happened, signed, at least once",
        sources=("Standard Webhooks 1.0.0", "ASVS 2.3.3"),
        claim="An event is written in the transaction of its outcome and delivered afterwards until it is taken, for a "
        "day, under keys of the endpoint that check with a shared secret or a public key. Killed at any step, none is "
        "lost, and what comes twice has the same event id; a tenant is never sent another's.",
        not_claimed="That an event comes once, or that events of different charges come in order. What nobody takes "
        "for a day is kept and sent again only by hand.",
    ),
    Control(
        id="UC-W.2",
        title="A webhook calls nobody but an address on the internet",
        sources=("ASVS 1.3.6", "OWASP API7:2023"),
        claim="Endpoints are https and public; each address is judged again as the socket for it is made, so a name "
        "that comes to point inside is not called. No redirect is followed, nothing of the machine goes along and "
        "nothing of an answer is kept but its status.",
        not_claimed="That a public address is the tenant's: who registers it decides. The sandbox calls loopback.",
    ),
)
