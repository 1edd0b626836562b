"""More limits in a mandate, and approvals.

Every mandate has all its limits; where a person set none it has the highest there is. What earlier mandates allowed
stays allowed. Reservations say themselves whose money they are and where it goes, so that limits are counted over all
of a person's mandates in one look at one index.

The trigger is a second wall behind the decision. It counts again what the decision counted, under a lock of the
person's own: whatever a mistaken program asks for, more than a mandate allows is not written down. It costs one more
look at the same index for each purchase that is reserved, and none for one that is denied: 0.2 ms for a person with 10
purchases in a window of 31 days, 0.3 to 0.5 ms with 100, 1.2 ms with 1,000 (medians, 2026-11-21, measured on a busy
machine; ADR 0017 says how).
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

LIMITS = """
ALTER TABLE mandates NO FORCE ROW LEVEL SECURITY;
ALTER TABLE reservations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE purchases NO FORCE ROW LEVEL SECURITY;
ALTER TABLE mandates
    ADD COLUMN payees text[],
    ADD COLUMN purposes text[] NOT NULL
        DEFAULT '{donations,gift_cards,goods,services,subscriptions,travel}' CHECK (cardinality(purposes) > 0),
    ADD COLUMN window_seconds integer NOT NULL DEFAULT 2592000 CHECK (window_seconds BETWEEN 3600 AND 2678400),
    ADD COLUMN window_cap_minor bigint NOT NULL DEFAULT 1000000000000
        CHECK (window_cap_minor BETWEEN 1 AND 1000000000000),
    ADD COLUMN window_count_max integer NOT NULL DEFAULT 10000 CHECK (window_count_max BETWEEN 1 AND 10000),
    ADD COLUMN approval_above_minor bigint NOT NULL DEFAULT 1000000000000
        CHECK (approval_above_minor BETWEEN 0 AND 1000000000000);
UPDATE mandates SET payees = ARRAY[brand_id];
ALTER TABLE mandates
    ALTER COLUMN payees SET NOT NULL,
    ADD CHECK (brand_id = ANY(payees)),
    ALTER COLUMN purposes DROP DEFAULT,
    ALTER COLUMN window_seconds DROP DEFAULT,
    ALTER COLUMN window_cap_minor DROP DEFAULT,
    ALTER COLUMN window_count_max DROP DEFAULT,
    ALTER COLUMN approval_above_minor DROP DEFAULT;
ALTER TABLE quotes ADD COLUMN purposes text[] NOT NULL DEFAULT '{goods}' CHECK (cardinality(purposes) > 0);
GRANT UPDATE (purposes) ON quotes TO gateway_app;
ALTER TABLE reservations ADD COLUMN subject_id text, ADD COLUMN brand_id text, ADD COLUMN currency text;
UPDATE reservations r SET subject_id = m.subject_id, brand_id = p.brand_id, currency = m.currency
    FROM mandates m, purchases p WHERE m.tenant_id = r.tenant_id AND m.mandate_id = r.mandate_id
    AND p.tenant_id = r.tenant_id AND p.purchase_id = r.purchase_id;
ALTER TABLE reservations
    ALTER COLUMN subject_id SET NOT NULL,
    ALTER COLUMN brand_id SET NOT NULL,
    ALTER COLUMN currency SET NOT NULL,
    ADD CHECK (day = (reserved_at AT TIME ZONE 'UTC')::date);
DROP INDEX reservations_of_day;
CREATE INDEX reservations_of_person ON reservations (tenant_id, subject_id, currency, reserved_at)
    WHERE state <> 'voided';
ALTER TABLE mandates FORCE ROW LEVEL SECURITY;
ALTER TABLE reservations FORCE ROW LEVEL SECURITY;
ALTER TABLE purchases FORCE ROW LEVEL SECURITY;
"""

WALL = """
CREATE FUNCTION reservation_within_mandate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    m mandates%ROWTYPE;
    begins timestamptz;
    today_minor numeric;
    in_window_minor numeric;
    bought bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.tenant_id || ' ' || NEW.subject_id, 0));
    SELECT * INTO m FROM mandates WHERE tenant_id = NEW.tenant_id AND mandate_id = NEW.mandate_id;
    begins = NEW.reserved_at - make_interval(secs => m.window_seconds);
    SELECT coalesce(sum(amount_minor) FILTER (WHERE day = NEW.day), 0),
        coalesce(sum(amount_minor) FILTER (WHERE reserved_at > begins), 0),
        count(*) FILTER (WHERE reserved_at > begins)
    INTO today_minor, in_window_minor, bought
    FROM reservations
    WHERE tenant_id = NEW.tenant_id AND subject_id = NEW.subject_id AND currency = NEW.currency
        AND brand_id = ANY(m.payees) AND state <> 'voided'
        AND reserved_at >= least(begins, NEW.day::timestamp AT TIME ZONE 'UTC');
    IF (m.subject_id = NEW.subject_id AND m.currency = NEW.currency AND NEW.brand_id = ANY(m.payees)
        AND m.revoked_at IS NULL AND NEW.reserved_at < m.expires_at
        AND NEW.amount_minor <= m.payment_cap_minor
        AND today_minor <= m.day_cap_minor
        AND in_window_minor <= m.window_cap_minor
        AND bought <= m.window_count_max) IS NOT TRUE THEN
        RAISE EXCEPTION 'a reservation beyond its mandate' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
"""

CLOSED = """
CREATE FUNCTION reservation_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a closed reservation does not open or change' USING ERRCODE = 'check_violation';
END $$
"""

TRIGGERS = """
CREATE TRIGGER reservations_within_mandate AFTER INSERT ON reservations
    FOR EACH ROW EXECUTE FUNCTION reservation_within_mandate();
CREATE TRIGGER reservations_stay_closed BEFORE UPDATE ON reservations
    FOR EACH ROW WHEN (OLD.state <> 'held' AND NEW.state <> OLD.state) EXECUTE FUNCTION reservation_closed();
"""

APPROVALS = """
CREATE TABLE approval_directory (
    approval_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants
);
CREATE TABLE approvals (
    tenant_id text NOT NULL,
    approval_id text NOT NULL,
    subject_id text NOT NULL,
    brand_id text NOT NULL,
    client_id text NOT NULL,
    conversation_id text NOT NULL,
    checkout_id text NOT NULL,
    mandate_id text NOT NULL,
    decision_id text NOT NULL,
    parameters_sha256 text NOT NULL CHECK (parameters_sha256 ~ '^[0-9a-f]{64}$'),
    cart_sha256 text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    description text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'approved', 'refused', 'used')),
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    answered_at timestamptz,
    purchase_id text,
    PRIMARY KEY (tenant_id, approval_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects,
    FOREIGN KEY (tenant_id, brand_id) REFERENCES brands,
    FOREIGN KEY (tenant_id, checkout_id) REFERENCES quotes,
    FOREIGN KEY (tenant_id, mandate_id) REFERENCES mandates,
    CHECK ((state = 'open') = (answered_at IS NULL)),
    CHECK ((state = 'used') = (purchase_id IS NOT NULL))
);
CREATE INDEX approvals_of_checkout ON approvals (tenant_id, checkout_id);
CREATE INDEX approvals_of_person ON approvals (tenant_id, subject_id, asked_at);
GRANT SELECT, INSERT ON approval_directory, approvals TO gateway_app;
GRANT UPDATE (state, expires_at, answered_at, purchase_id) ON approvals TO gateway_app;
ALTER TABLE visits
    ADD COLUMN approval_id text,
    DROP CONSTRAINT visits_purpose_check,
    ADD CONSTRAINT visits_purpose_check CHECK (purpose IN ('consent', 'door', 'passkeys', 'approval')),
    ADD CHECK ((purpose = 'approval') = (approval_id IS NOT NULL));
"""


def upgrade() -> None:
    run_script(LIMITS)
    op.execute(WALL)
    op.execute(CLOSED)
    run_script(TRIGGERS)
    run_script(APPROVALS)
    wall_by_tenant("approvals")
