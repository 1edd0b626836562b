"""What operators see of the outbox. Sums over all tenants; no label holds a value from outside."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class OutboxCounters:
    """Attempts are counted as they are made, by the process that makes them; the rest is looked up (caretaking.py)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "vault_webhook_attempts_total", "Attempts to deliver, by how they came out.", ["ending"], registry=registry
        )
        self.waiting = Gauge("vault_webhook_waiting", "Events owed to endpoints.", registry=registry)
        self.oldest = Gauge(
            "vault_webhook_oldest_seconds", "Age of what is owed longest; 0 if nothing.", registry=registry
        )
        self.dead = Gauge("vault_webhook_dead", "Events given up, kept to be sent by hand.", registry=registry)
        self.disabled = Gauge("vault_webhook_endpoints_disabled", "Endpoints that are told nothing.", registry=registry)
        self.failing = Gauge(
            "vault_webhook_endpoints_failing", "Endpoints whose last answer was no.", registry=registry
        )
