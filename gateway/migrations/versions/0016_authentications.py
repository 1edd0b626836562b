"""A purchase whose person is asked by their card's bank, and the door to it.

`charge_directory` says which tenant an unguessable charge id belongs to, of charges whose person was asked; no other.
"""

from infra.chassis.migrate import run_script

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ASKED = """
ALTER TABLE purchases
    DROP CONSTRAINT purchases_state_check,
    ADD CONSTRAINT purchases_state_check CHECK (state IN
        ('needs_card', 'charging', 'needs_authentication', 'paid', 'declined', 'failed', 'unknown')),
    ADD CHECK (state <> 'needs_authentication' OR charge_id IS NOT NULL);
CREATE INDEX purchases_by_charge ON purchases (tenant_id, charge_id) WHERE charge_id IS NOT NULL;
CREATE TABLE charge_directory (
    charge_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants
);
GRANT SELECT, INSERT ON charge_directory TO gateway_app;
ALTER TABLE visits
    ADD COLUMN charge_id text,
    DROP CONSTRAINT visits_purpose_check,
    ADD CONSTRAINT visits_purpose_check CHECK
        (purpose IN ('consent', 'door', 'passkeys', 'approval', 'authentication')),
    ADD CHECK ((purpose = 'authentication') = (charge_id IS NOT NULL));
"""


def upgrade() -> None:
    run_script(ASKED)
