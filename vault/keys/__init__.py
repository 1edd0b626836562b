"""Which key seals what. Providers of the root are in infra.chassis.keys."""
