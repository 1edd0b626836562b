"""Policies: our own of every release that ever ran here, tenants' versions over them, and what a shadow would say.

A base's name is the hash of its texts, and the database itself refuses any other: what an old decision names can be
read again as it was. Versions, changes and differences are only ever added to; which one stands is one row a tenant.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BASES = """
CREATE TABLE policy_bases (
    policy_sha256 text PRIMARY KEY,
    policy_group text NOT NULL,
    schema_text text NOT NULL,
    policy_text text NOT NULL,
    known_since timestamptz NOT NULL,
    CHECK (policy_sha256 = encode(sha256(
        convert_to(schema_text, 'UTF8') || '\\x00'::bytea || convert_to(policy_text, 'UTF8')), 'hex'))
);
"""

TENANT_TABLES = """
CREATE TABLE policy_versions (
    tenant_id text NOT NULL,
    version_sha256 text NOT NULL,
    overlay jsonb NOT NULL,
    analysis jsonb NOT NULL,
    uploaded_by text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version_sha256)
);
CREATE TABLE policy_standings (
    tenant_id text PRIMARY KEY,
    active_sha256 text,
    shadow_sha256 text,
    position bigint NOT NULL,
    CHECK (active_sha256 IS DISTINCT FROM shadow_sha256 OR active_sha256 IS NULL),
    FOREIGN KEY (tenant_id, active_sha256) REFERENCES policy_versions,
    FOREIGN KEY (tenant_id, shadow_sha256) REFERENCES policy_versions
);
CREATE TABLE policy_changes (
    tenant_id text NOT NULL,
    position bigint NOT NULL,
    change text NOT NULL CHECK (change IN ('shadowed', 'unshadowed', 'activated', 'rolled_back')),
    active_sha256 text,
    shadow_sha256 text,
    replaced_sha256 text,
    client_id text NOT NULL,
    event_id text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, position)
);
CREATE INDEX policy_changes_by_active ON policy_changes (tenant_id, active_sha256, position)
    WHERE change = 'activated';
CREATE TABLE policy_differences (
    tenant_id text NOT NULL,
    version_sha256 text NOT NULL,
    difference_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    decision_id text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    reasons text[] NOT NULL,
    shadow_outcome text,
    shadow_reasons text[] NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version_sha256, difference_id)
);
"""

WALLED = ("policy_versions", "policy_standings", "policy_changes", "policy_differences")

GRANTS = """
GRANT SELECT, INSERT ON policy_bases, policy_versions, policy_changes TO gateway_app;
GRANT SELECT, INSERT ON policy_standings TO gateway_app;
GRANT UPDATE (active_sha256, shadow_sha256, position) ON policy_standings TO gateway_app;
GRANT SELECT, INSERT (tenant_id, version_sha256, decision_id, action, outcome, reasons, shadow_outcome, shadow_reasons,
    decided_at) ON policy_differences TO gateway_app;
"""


def upgrade() -> None:
    run_script(BASES)
    run_script(TENANT_TABLES)
    for table in WALLED:
        wall_by_tenant(table)
    run_script(GRANTS)
