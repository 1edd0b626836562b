"""Charges that wait for the card's holder, at their bank: a state of its own, and the one browser that sees it through.

Such a charge is live: its purchase has no other, its token's one use is taken. It waits only for somebody who was said
to be present when it was ordered, under the processor's name for it, and until a time.
"""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

CHARGES = """
ALTER TABLE charges ADD COLUMN person_present boolean NOT NULL DEFAULT false;
ALTER TABLE charges ADD COLUMN action_until timestamptz;
ALTER TABLE charges ADD COLUMN browser_hash bytea CHECK (octet_length(browser_hash) = 32);
ALTER TABLE charges DROP CONSTRAINT charges_state_check;
ALTER TABLE charges ADD CONSTRAINT charges_state_check CHECK (state IN ('intended', 'unknown', 'needs_action',
    'approved', 'declined', 'failed', 'held', 'settled', 'voided', 'expired'));
ALTER TABLE charges ADD CONSTRAINT charges_action_check CHECK (state <> 'needs_action' OR (person_present
    AND action_until IS NOT NULL AND processor_ref IS NOT NULL AND reason IS NULL));
DROP INDEX one_charge_a_purchase;
CREATE UNIQUE INDEX one_charge_a_purchase ON charges (tenant_id, purchase_id)
    WHERE state IN ('intended', 'unknown', 'needs_action', 'approved', 'held', 'settled');
DROP INDEX one_charge_a_single_use;
CREATE UNIQUE INDEX one_charge_a_single_use ON charges (tenant_id, token_id)
    WHERE single_use AND state IN ('intended', 'unknown', 'needs_action', 'approved', 'held', 'settled');
CREATE INDEX charges_waiting ON charges (tenant_id, updated_at) WHERE state = 'needs_action';
GRANT UPDATE (action_until, browser_hash) ON charges TO vault_app;
"""

MOVES = """
CREATE OR REPLACE FUNCTION allow_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'intended' THEN
            RAISE EXCEPTION 'a % begins as an intention', TG_TABLE_NAME USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT 1 FROM (VALUES
            ('charges', 'intended', 'unknown'), ('charges', 'intended', 'approved'),
            ('charges', 'intended', 'declined'), ('charges', 'intended', 'failed'), ('charges', 'intended', 'held'),
            ('charges', 'intended', 'needs_action'),
            ('charges', 'unknown', 'approved'), ('charges', 'unknown', 'declined'), ('charges', 'unknown', 'failed'),
            ('charges', 'unknown', 'held'), ('charges', 'unknown', 'needs_action'),
            ('charges', 'needs_action', 'approved'), ('charges', 'needs_action', 'declined'),
            ('charges', 'needs_action', 'failed'), ('charges', 'needs_action', 'held'),
            ('charges', 'held', 'settled'), ('charges', 'held', 'voided'), ('charges', 'held', 'expired'),
            ('refunds', 'intended', 'unknown'), ('refunds', 'intended', 'refunded'), ('refunds', 'intended', 'failed'),
            ('refunds', 'unknown', 'refunded'), ('refunds', 'unknown', 'failed'),
            ('hold_ends', 'intended', 'unknown'), ('hold_ends', 'intended', 'done'),
            ('hold_ends', 'intended', 'failed'), ('hold_ends', 'unknown', 'done'), ('hold_ends', 'unknown', 'failed'),
            ('disputes', 'inquiry', 'closed'), ('disputes', 'inquiry', 'open'), ('disputes', 'inquiry', 'lost'),
            ('disputes', 'inquiry', 'won'), ('disputes', 'closed', 'open'), ('disputes', 'closed', 'lost'),
            ('disputes', 'closed', 'won'), ('disputes', 'open', 'lost'), ('disputes', 'open', 'won'),
            ('disputes', 'lost', 'won')
        ) move (kind, was, becomes)
        WHERE kind = TG_TABLE_NAME AND was = OLD.state AND becomes = NEW.state
    ) THEN
        RAISE EXCEPTION '% do not move from % to %', TG_TABLE_NAME, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""
"""As migration `money` made it, with the new state's moves. Who was asked does not go back to being unknown."""


def upgrade() -> None:
    run_script(CHARGES)
    op.execute(MOVES)
