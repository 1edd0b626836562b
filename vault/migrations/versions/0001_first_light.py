"""Captures, sealed cards, charges, refunds, the inbox of processor events, and who may do what to them.

Every tenant table leads with tenant_id and shows a transaction only the rows of the tenant it was begun for. What the
app role may change is listed column by column; it alters no table, and what is written once it cannot rewrite.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY
);

CREATE TABLE redeemed_grants (
    tenant_id text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, jti)
);
CREATE INDEX redeemed_grants_by_expiry ON redeemed_grants (tenant_id, expires_at);

CREATE TABLE tenant_keys (
    tenant_id text NOT NULL REFERENCES tenants,
    version integer NOT NULL CHECK (version > 0),
    wrapped_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);

CREATE TABLE cards (
    tenant_id text NOT NULL REFERENCES tenants,
    token_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    fingerprint_version integer NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed_number bytea NOT NULL,
    sealed_details bytea NOT NULL,
    card_brand text NOT NULL,
    last4 text NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
    created_at timestamptz NOT NULL,
    on_file_since timestamptz,
    PRIMARY KEY (tenant_id, token_id)
);
CREATE INDEX cards_by_fingerprint ON cards (tenant_id, fingerprint);

CREATE TABLE captures (
    tenant_id text NOT NULL REFERENCES tenants,
    capture_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    purchase_id text NOT NULL,
    brand_name text NOT NULL,
    amount_minor integer NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    browser_hash bytea CHECK (octet_length(browser_hash) = 32),
    token_id text,
    PRIMARY KEY (tenant_id, capture_id),
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id)
);

CREATE TABLE charges (
    tenant_id text NOT NULL REFERENCES tenants,
    charge_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    purchase_id text NOT NULL,
    token_id text NOT NULL,
    amount_minor integer NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state text NOT NULL CHECK (state IN ('intended', 'approved', 'declined', 'failed', 'unknown')),
    reason text,
    processor_ref text,
    refunded_minor integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    worked_until timestamptz,
    PRIMARY KEY (tenant_id, charge_id),
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id),
    CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    CHECK (state <> 'approved' OR (processor_ref IS NOT NULL AND reason IS NULL))
);
CREATE UNIQUE INDEX one_charge_a_purchase ON charges (tenant_id, purchase_id)
    WHERE state IN ('intended', 'unknown', 'approved');
CREATE INDEX charges_unfinished ON charges (tenant_id, updated_at) WHERE state IN ('intended', 'unknown');

CREATE TABLE refunds (
    tenant_id text NOT NULL REFERENCES tenants,
    refund_id text NOT NULL,
    charge_id text NOT NULL,
    amount_minor integer NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('intended', 'refunded', 'failed', 'unknown')),
    processor_ref text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    worked_until timestamptz,
    PRIMARY KEY (tenant_id, refund_id),
    FOREIGN KEY (tenant_id, charge_id) REFERENCES charges (tenant_id, charge_id)
);
CREATE INDEX refunds_of_charge ON refunds (tenant_id, charge_id);
CREATE INDEX refunds_unfinished ON refunds (tenant_id, updated_at) WHERE state IN ('intended', 'unknown');

CREATE TABLE inbox_events (
    tenant_id text NOT NULL REFERENCES tenants,
    event_id text NOT NULL,
    kind text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);
"""

TENANT_TABLES = (
    "redeemed_grants",
    "tenant_keys",
    "cards",
    "captures",
    "charges",
    "refunds",
    "inbox_events",
)

RIGHTS = """
GRANT USAGE ON SCHEMA public TO vault_app;
GRANT SELECT, INSERT ON tenants TO vault_app;
GRANT INSERT, DELETE ON redeemed_grants TO vault_app;
GRANT SELECT (tenant_id, expires_at) ON redeemed_grants TO vault_app;
GRANT SELECT, INSERT ON tenant_keys TO vault_app;
GRANT SELECT, INSERT, UPDATE (on_file_since) ON cards TO vault_app;
GRANT SELECT, INSERT, UPDATE (attempts, browser_hash, token_id) ON captures TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, reason, processor_ref, refunded_minor, updated_at, worked_until)
    ON charges TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, processor_ref, updated_at, worked_until) ON refunds TO vault_app;
GRANT SELECT, INSERT ON inbox_events TO vault_app;
"""

GRANTS_STAY_AN_HOUR = """
DROP POLICY own_tenant ON redeemed_grants;
CREATE POLICY of_tenant_read ON redeemed_grants FOR SELECT
    USING (tenant_id = current_setting('undercroft.tenant', true));
CREATE POLICY of_tenant_redeem ON redeemed_grants FOR INSERT
    WITH CHECK (tenant_id = current_setting('undercroft.tenant', true));
CREATE POLICY of_tenant_purge ON redeemed_grants FOR DELETE
    USING (tenant_id = current_setting('undercroft.tenant', true) AND expires_at < now() - interval '1 hour');
"""
"""A grant lives 30 seconds at most; a redeemed one cannot be forgotten before it is long worthless."""


def upgrade() -> None:
    run_script(TABLES)
    for table in TENANT_TABLES:
        wall_by_tenant(table)
    run_script(GRANTS_STAY_AN_HOUR)
    run_script(RIGHTS)
