"""Money's states and the ledger: holds, how they end, disputes, balanced entries, and who may move what to where.

What code decides is decided here once more. A state moves only along `vault/states.py`, whose table is repeated below
and compared by a test. A transaction that leaves an outcome without its posting, or a posting out of balance, does not
commit. A refund that exceeds what was taken does not commit either, whoever asks.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHARGES = """
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
ALTER TABLE refunds NO FORCE ROW LEVEL SECURITY;
ALTER TABLE charges ADD COLUMN held_first boolean NOT NULL DEFAULT false;
ALTER TABLE charges ADD COLUMN taken_minor integer NOT NULL DEFAULT 0;
ALTER TABLE charges ADD COLUMN hold_until timestamptz;
UPDATE charges SET taken_minor = amount_minor WHERE state = 'approved';
ALTER TABLE charges DROP CONSTRAINT charges_state_check;
ALTER TABLE charges DROP CONSTRAINT charges_check;
ALTER TABLE charges DROP CONSTRAINT charges_check1;
ALTER TABLE charges ADD CONSTRAINT charges_state_check CHECK (state IN
    ('intended', 'unknown', 'approved', 'declined', 'failed', 'held', 'settled', 'voided', 'expired'));
ALTER TABLE charges ADD CONSTRAINT charges_money_check CHECK (
    refunded_minor BETWEEN 0 AND taken_minor AND taken_minor BETWEEN 0 AND amount_minor
    AND (state IN ('approved', 'settled')) = (taken_minor > 0)
    AND (state <> 'approved' OR taken_minor = amount_minor));
ALTER TABLE charges ADD CONSTRAINT charges_kind_check CHECK (
    (state <> 'approved' OR NOT held_first)
    AND (state NOT IN ('held', 'settled', 'voided', 'expired') OR held_first)
    AND (state <> 'held' OR hold_until IS NOT NULL));
ALTER TABLE charges ADD CONSTRAINT charges_outcome_check CHECK (
    state NOT IN ('approved', 'held', 'settled', 'voided', 'expired')
    OR (processor_ref IS NOT NULL AND reason IS NULL));
DROP INDEX one_charge_a_purchase;
CREATE UNIQUE INDEX one_charge_a_purchase ON charges (tenant_id, purchase_id)
    WHERE state IN ('intended', 'unknown', 'approved', 'held', 'settled');
CREATE UNIQUE INDEX charges_by_processor_ref ON charges (tenant_id, processor_ref) WHERE processor_ref IS NOT NULL;
CREATE INDEX charges_held ON charges (tenant_id, hold_until) WHERE state = 'held';
"""

TABLES = """
CREATE TABLE payment_directory (
    processor_ref text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants
);

CREATE TABLE hold_ends (
    tenant_id text NOT NULL REFERENCES tenants,
    end_id text NOT NULL,
    charge_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('settle', 'void')),
    amount_minor integer NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('intended', 'unknown', 'done', 'failed')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    worked_until timestamptz,
    PRIMARY KEY (tenant_id, end_id),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id)
);
CREATE UNIQUE INDEX one_end_a_hold ON hold_ends (tenant_id, charge_id) WHERE state <> 'failed';
CREATE INDEX hold_ends_unfinished ON hold_ends (tenant_id, updated_at) WHERE state IN ('intended', 'unknown');

CREATE TABLE disputes (
    tenant_id text NOT NULL REFERENCES tenants,
    dispute_ref text NOT NULL,
    charge_id text NOT NULL,
    amount_minor integer NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('inquiry', 'closed', 'open', 'lost', 'won')),
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, dispute_ref),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id)
);
CREATE INDEX disputes_of_charge ON disputes (tenant_id, charge_id);

CREATE TABLE postings (
    tenant_id text NOT NULL REFERENCES tenants,
    source_id text NOT NULL,
    event text NOT NULL CHECK (event IN
        ('approved', 'held', 'settled', 'voided', 'expired', 'refunded', 'withdrawn', 'reinstated')),
    charge_id text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    posted_at timestamptz NOT NULL,
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (tenant_id, source_id, event),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id)
);
CREATE INDEX postings_of_charge ON postings (tenant_id, charge_id);

CREATE TABLE entries (
    tenant_id text NOT NULL,
    source_id text NOT NULL,
    event text NOT NULL,
    account text NOT NULL CHECK (account IN
        ('processor_receivable', 'sales', 'refunds', 'disputes', 'held_funds', 'hold_claims')),
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    PRIMARY KEY (tenant_id, source_id, event, account),
    FOREIGN KEY (tenant_id, source_id, event) REFERENCES postings (tenant_id, source_id, event)
);

ALTER TABLE inbox_events ADD COLUMN payment_ref text;
ALTER TABLE inbox_events ADD COLUMN handled_at timestamptz;
ALTER TABLE inbox_events NO FORCE ROW LEVEL SECURITY;
UPDATE inbox_events SET handled_at = received_at;
ALTER TABLE inbox_events FORCE ROW LEVEL SECURITY;
CREATE INDEX inbox_events_waiting ON inbox_events (tenant_id, received_at) WHERE handled_at IS NULL;
"""
"""`payment_directory` says which tenant a processor's reference belongs to: a dispute's event names nothing else."""

BEFORE_THE_LEDGER = """
INSERT INTO payment_directory (processor_ref, tenant_id)
    SELECT processor_ref, tenant_id FROM charges WHERE processor_ref IS NOT NULL;
INSERT INTO postings (tenant_id, source_id, event, charge_id, currency, posted_at)
    SELECT tenant_id, charge_id, 'approved', charge_id, currency, updated_at FROM charges WHERE state = 'approved';
INSERT INTO entries (tenant_id, source_id, event, account, amount_minor)
    SELECT tenant_id, charge_id, 'approved', side.account, side.sign * taken_minor FROM charges,
        (VALUES ('processor_receivable', 1), ('sales', -1)) side (account, sign) WHERE state = 'approved';
INSERT INTO postings (tenant_id, source_id, event, charge_id, currency, posted_at)
    SELECT tenant_id, refund_id, 'refunded', charge_id, currency, updated_at FROM refunds WHERE state = 'refunded';
INSERT INTO entries (tenant_id, source_id, event, account, amount_minor)
    SELECT tenant_id, refund_id, 'refunded', side.account, side.sign * amount_minor FROM refunds,
        (VALUES ('refunds', 1), ('processor_receivable', -1)) side (account, sign) WHERE state = 'refunded';
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
ALTER TABLE refunds FORCE ROW LEVEL SECURITY;
"""
"""What was charged and refunded before there was a ledger is posted now, with the time of its outcome."""

MOVES = """
CREATE FUNCTION allow_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'intended' THEN
            RAISE EXCEPTION 'a % begins as an intention', TG_TABLE_NAME USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT 1 FROM (VALUES
            ('charges', 'intended', 'unknown'), ('charges', 'intended', 'approved'),
            ('charges', 'intended', 'declined'), ('charges', 'intended', 'failed'), ('charges', 'intended', 'held'),
            ('charges', 'unknown', 'approved'), ('charges', 'unknown', 'declined'), ('charges', 'unknown', 'failed'),
            ('charges', 'unknown', 'held'),
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

TAKEN_ONCE = """
CREATE FUNCTION take_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.taken_minor <> 0 AND NEW.taken_minor <> OLD.taken_minor THEN
        RAISE EXCEPTION 'what a charge took is not rewritten' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.processor_ref IS NOT NULL AND NEW.processor_ref IS DISTINCT FROM OLD.processor_ref THEN
        RAISE EXCEPTION 'a charge has one payment at the processor' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

CEILING = """
CREATE FUNCTION keep_below_ceiling() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ceiling bigint; promised bigint;
BEGIN
    SELECT taken_minor INTO ceiling FROM charges
        WHERE tenant_id = NEW.tenant_id AND charge_id = NEW.charge_id AND currency = NEW.currency FOR NO KEY UPDATE;
    SELECT coalesce(sum(amount_minor), 0) INTO promised FROM refunds
        WHERE tenant_id = NEW.tenant_id AND charge_id = NEW.charge_id AND state <> 'failed';
    IF ceiling IS NULL OR promised > ceiling THEN
        RAISE EXCEPTION 'a refund exceeds what was taken' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""
"""The charge's row is locked first, so that two refunds at once do not both fit, whatever code wrote them."""

BALANCED = """
CREATE FUNCTION balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE total numeric; sides bigint; writer xid8;
BEGIN
    SELECT coalesce(sum(amount_minor), 0), count(*) INTO total, sides FROM entries
        WHERE tenant_id = NEW.tenant_id AND source_id = NEW.source_id AND event = NEW.event;
    SELECT written_by INTO writer FROM postings
        WHERE tenant_id = NEW.tenant_id AND source_id = NEW.source_id AND event = NEW.event;
    IF total <> 0 OR sides < 2 THEN
        RAISE EXCEPTION 'a posting does not balance' USING ERRCODE = 'check_violation';
    END IF;
    IF writer IS DISTINCT FROM pg_current_xact_id() THEN
        RAISE EXCEPTION 'a posting is not added to later' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
"""

POSTED = """
CREATE FUNCTION require_posting() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted text[]; source text;
BEGIN
    source = to_jsonb(NEW) ->> TG_ARGV[0];
    wanted = CASE TG_TABLE_NAME || ' ' || NEW.state
        WHEN 'charges approved' THEN ARRAY['approved']
        WHEN 'charges held' THEN ARRAY['held']
        WHEN 'charges settled' THEN ARRAY['held', 'settled']
        WHEN 'charges voided' THEN ARRAY['held', 'voided']
        WHEN 'charges expired' THEN ARRAY['held', 'expired']
        WHEN 'refunds refunded' THEN ARRAY['refunded']
        WHEN 'disputes open' THEN ARRAY['withdrawn']
        WHEN 'disputes lost' THEN ARRAY['withdrawn']
        WHEN 'disputes won' THEN ARRAY['withdrawn', 'reinstated']
        ELSE ARRAY[]::text[] END;
    IF EXISTS (SELECT 1 FROM unnest(wanted) one WHERE NOT EXISTS (SELECT 1 FROM postings p
        WHERE p.tenant_id = NEW.tenant_id AND p.source_id = source AND p.event = one)) THEN
        RAISE EXCEPTION 'an outcome has no posting' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
"""
"""Deferred to the commit, so that an outcome and its posting stand or fall together."""

FUNCTIONS = (MOVES, TAKEN_ONCE, CEILING, BALANCED, POSTED)

TRIGGERS = """
CREATE TRIGGER states AFTER INSERT OR UPDATE OF state ON charges FOR EACH ROW EXECUTE FUNCTION allow_move();
CREATE TRIGGER states AFTER INSERT OR UPDATE OF state ON refunds FOR EACH ROW EXECUTE FUNCTION allow_move();
CREATE TRIGGER states AFTER INSERT OR UPDATE OF state ON hold_ends FOR EACH ROW EXECUTE FUNCTION allow_move();
CREATE TRIGGER states AFTER UPDATE OF state ON disputes FOR EACH ROW EXECUTE FUNCTION allow_move();
CREATE TRIGGER taken_once BEFORE UPDATE ON charges FOR EACH ROW EXECUTE FUNCTION take_once();
CREATE TRIGGER ceiling AFTER INSERT ON refunds FOR EACH ROW EXECUTE FUNCTION keep_below_ceiling();
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON postings DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION balance();
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION balance();
CREATE CONSTRAINT TRIGGER posted AFTER UPDATE OF state ON charges DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_posting('charge_id');
CREATE CONSTRAINT TRIGGER posted AFTER UPDATE OF state ON refunds DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_posting('refund_id');
CREATE CONSTRAINT TRIGGER posted AFTER INSERT OR UPDATE OF state ON disputes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_posting('dispute_ref');
"""

RIGHTS = """
GRANT UPDATE (taken_minor, hold_until) ON charges TO vault_app;
GRANT SELECT, INSERT ON payment_directory TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, updated_at, worked_until) ON hold_ends TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, updated_at) ON disputes TO vault_app;
GRANT SELECT, INSERT (tenant_id, source_id, event, charge_id, currency, posted_at) ON postings TO vault_app;
GRANT SELECT, INSERT ON entries TO vault_app;
GRANT UPDATE (handled_at) ON inbox_events TO vault_app;
"""
"""Postings and entries are only added to, and which transaction wrote a posting only the database says."""


def upgrade() -> None:
    run_script(CHARGES)
    run_script(TABLES)
    run_script(BEFORE_THE_LEDGER)
    for function in FUNCTIONS:
        op.execute(function)
    run_script(TRIGGERS)
    for table in ("hold_ends", "disputes", "postings", "entries"):
        wall_by_tenant(table)
    run_script(RIGHTS)
