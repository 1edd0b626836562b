"""Routes, and a row for each time a charge is given to a processor.

What the code promises holds here once more. A charge has one live attempt at most. It goes to another processor only
by giving up the live one, which is possible only while the charge is an intention: what is unknown never moves on. What
is approved or held is the live attempt's, at its processor and under its reference.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE payment_routes (
    tenant_id text NOT NULL REFERENCES tenants,
    route_id text NOT NULL,
    position integer NOT NULL CHECK (position BETWEEN 1 AND 100),
    processor text NOT NULL CHECK (processor ~ '^[a-z]{2,20}$'),
    weight integer NOT NULL CHECK (weight BETWEEN 1 AND 1000),
    brand_id text,
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    card_brand text,
    amount_from_minor integer CHECK (amount_from_minor > 0),
    amount_to_minor integer CHECK (amount_to_minor > 0),
    PRIMARY KEY (tenant_id, route_id)
);

CREATE TABLE charge_attempts (
    tenant_id text NOT NULL REFERENCES tenants,
    charge_id text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    processor text NOT NULL,
    processor_ref text,
    state text NOT NULL CHECK (state IN ('live', 'given_up')),
    reason text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, charge_id, attempt),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id),
    CHECK ((state = 'given_up') = (ended_at IS NOT NULL AND reason IS NOT NULL))
);
CREATE UNIQUE INDEX one_live_attempt_a_charge ON charge_attempts (tenant_id, charge_id) WHERE state = 'live';
CREATE UNIQUE INDEX a_processor_once_a_charge ON charge_attempts (tenant_id, charge_id, processor);

ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
INSERT INTO charge_attempts (tenant_id, charge_id, attempt, processor, processor_ref, state, started_at)
    SELECT tenant_id, charge_id, 1, processor, processor_ref, 'live', created_at FROM charges;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
"""

TAKEN_ONCE = """
CREATE OR REPLACE FUNCTION take_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.taken_minor <> 0 AND NEW.taken_minor <> OLD.taken_minor THEN
        RAISE EXCEPTION 'what a charge took is not rewritten' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.processor_ref IS NOT NULL AND NEW.processor_ref IS DISTINCT FROM OLD.processor_ref AND NOT EXISTS (
        SELECT 1 FROM charge_attempts WHERE tenant_id = OLD.tenant_id AND charge_id = OLD.charge_id
            AND processor_ref = OLD.processor_ref AND state = 'given_up') THEN
        RAISE EXCEPTION 'a charge has one payment at the processor' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.processor <> OLD.processor AND NOT EXISTS (
        SELECT 1 FROM charge_attempts WHERE tenant_id = OLD.tenant_id AND charge_id = OLD.charge_id
            AND processor = NEW.processor AND state = 'live') THEN
        RAISE EXCEPTION 'a charge moves on by an attempt' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IN ('approved', 'held') AND OLD.state <> NEW.state AND NOT EXISTS (
        SELECT 1 FROM charge_attempts WHERE tenant_id = OLD.tenant_id AND charge_id = OLD.charge_id
            AND processor = NEW.processor AND processor_ref = NEW.processor_ref AND state = 'live') THEN
        RAISE EXCEPTION 'only the live attempt can be approved' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

GIVEN_UP = """
CREATE FUNCTION stay_given_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'given_up' OR NEW.processor <> OLD.processor
            OR (OLD.processor_ref IS NOT NULL AND NEW.processor_ref IS DISTINCT FROM OLD.processor_ref) THEN
        RAISE EXCEPTION 'an attempt stays what it was' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state = 'given_up' AND NOT EXISTS (
        SELECT 1 FROM charges WHERE tenant_id = NEW.tenant_id AND charge_id = NEW.charge_id AND state = 'intended')
    THEN
        RAISE EXCEPTION 'only what nobody can have charged is given up' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

RIGHTS = """
CREATE TRIGGER stays_given_up BEFORE UPDATE ON charge_attempts FOR EACH ROW EXECUTE FUNCTION stay_given_up();
GRANT UPDATE (processor) ON charges TO vault_app;
GRANT SELECT, INSERT, DELETE ON payment_routes TO vault_app;
GRANT SELECT, INSERT, UPDATE (processor_ref, state, reason, ended_at) ON charge_attempts TO vault_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    op.execute(TAKEN_ONCE)
    op.execute(GIVEN_UP)
    for table in ("payment_routes", "charge_attempts"):
        wall_by_tenant(table)
    run_script(RIGHTS)
