"""What operators count. No label can hold a value from outside: each is a member of a closed enum."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Counters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.tokenised = Counter("vault_cards_tokenised_total", "Cards taken in.", registry=registry)
        self.revealed = Counter("vault_cards_revealed_total", "Cards revealed to the processor.", registry=registry)
        self.forms_refused = Counter("vault_card_forms_refused_total", "Card forms with a flaw.", registry=registry)
        self.forms_taken = Counter(
            "vault_card_forms_taken_total",
            "Cards taken, by what the browser sealed them with.",
            ["suite"],
            registry=registry,
        )
        self.keyed = Counter(
            "vault_keyed_cards_total",
            "Cards keyed in on the telephone: taken, or refused.",
            ["answer"],
            registry=registry,
        )
        self.canaries_used = Counter(
            "vault_canaries_used_total", "Uses of tokens nobody was ever given: each is an alarm.", registry=registry
        )
        self.cards_unreadable = Counter(
            "vault_cards_unreadable_total",
            "Cards that did not open though the key service answered: each is an alarm.",
            registry=registry,
        )
        self.payments_astray = Counter(
            "vault_payments_astray_total",
            "Looks that found a payment which took money for a charge that had failed: each is an alarm.",
            registry=registry,
        )
        self.codes_locked = Gauge(
            "vault_codes_memory_locked",
            "1: the memory with verification codes is kept out of swap; 0: the machine gave no room for that.",
            registry=registry,
        )
        self.policy_reports = Counter(
            "vault_card_page_policy_reports_total",
            "What browsers said the page's policy stopped.",
            ["directive"],
            registry=registry,
        )
        self.charges = Counter("vault_charges_total", "Outcomes written.", ["state"], registry=registry)
        self.refunds = Counter("vault_refunds_total", "Refund outcomes written.", ["state"], registry=registry)
        self.processor_calls = Counter(
            "vault_processor_calls_total", "Calls to a processor.", ["processor", "answer"], registry=registry
        )
        self.processor_open = Gauge(
            "vault_processor_open", "1 while its circuit breaker is open.", ["processor"], registry=registry
        )
        self.failovers = Counter(
            "vault_failovers_total", "Charges given to another processor.", ["processor"], registry=registry
        )
        self.forwards = Counter("vault_forwards_total", "Forwards that ended.", ["state"], registry=registry)
        self.inquiries = Counter(
            "vault_card_inquiries_total", "Cards asked about at the card updater.", ["outcome"], registry=registry
        )
        self.webhooks = Counter("vault_webhooks_total", "Events of the processor.", ["answer"], registry=registry)
