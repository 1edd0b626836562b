"""A card updater, which speaks the part of Checkout.com's HTTP API that the vault's adapter needs."""
