"""Payments that may have been left open at a processor, to be looked for there (vault/leftovers.py).

Of charges that failed before there was this table nothing is noted: their payments stand unconfirmed, as they did.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE leftovers (
    tenant_id text NOT NULL REFERENCES tenants,
    charge_id text NOT NULL,
    processor text NOT NULL,
    looks integer NOT NULL DEFAULT 0 CHECK (looks >= 0),
    look_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, charge_id, processor),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id)
);
CREATE INDEX leftovers_by_time ON leftovers (tenant_id, look_at);
"""

RIGHTS = """
GRANT SELECT, INSERT, DELETE, UPDATE (looks, look_at) ON leftovers TO vault_app;
"""


def upgrade() -> None:
    run_script(TABLE)
    wall_by_tenant("leftovers")
    run_script(RIGHTS)
