"""Subjects, their wrapped keys, and sealed memories."""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    wrapped_key bytea NOT NULL
);

CREATE TABLE subjects (
    tenant_id text NOT NULL REFERENCES tenants,
    subject_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    known_since timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_id)
);

CREATE TABLE memories (
    tenant_id text NOT NULL,
    subject_id text NOT NULL,
    memory_id text NOT NULL,
    brand_id text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 0 AND 4),
    sealed bytea NOT NULL,
    remembered_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_id, memory_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects ON DELETE CASCADE
);

CREATE TABLE redeemed_grants (
    tenant_id text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, jti)
);
"""

GRANTS_STAY_AN_HOUR = """
DROP POLICY own_tenant ON redeemed_grants;
CREATE POLICY own_tenant_read ON redeemed_grants FOR SELECT
    USING (tenant_id = current_setting('undercroft.tenant', true));
CREATE POLICY own_tenant_redeem ON redeemed_grants FOR INSERT
    WITH CHECK (tenant_id = current_setting('undercroft.tenant', true));
CREATE POLICY own_tenant_purge ON redeemed_grants FOR DELETE
    USING (tenant_id = current_setting('undercroft.tenant', true) AND expires_at < now() - interval '1 hour');
"""
"""A grant lives 30 seconds at most; a used one cannot be made new by deleting its row before it is long worthless."""

TENANT_TABLES = ("subjects", "memories", "redeemed_grants")

# No UPDATE anywhere: a memory is made and destroyed, never rewritten.
GRANTS = """
GRANT SELECT, INSERT ON tenants TO memory_app;
GRANT SELECT, INSERT, DELETE ON subjects, memories, redeemed_grants TO memory_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in TENANT_TABLES:
        wall_by_tenant(table)
    run_script(GRANTS_STAY_AN_HOUR)
    run_script(GRANTS)
