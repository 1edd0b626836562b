"""A second processor, which speaks the part of Airwallex's HTTP API that the vault's adapter needs."""
