"""Tenants' own limits, which the owner writes, and the buckets from which processes draw."""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE rate_limits (
    tenant_id text NOT NULL REFERENCES tenants,
    scope text NOT NULL CHECK (scope IN ('tenant', 'agent', 'tool', 'subject')),
    name text NOT NULL,
    per_minute integer NOT NULL CHECK (per_minute BETWEEN 1 AND 60000000),
    burst integer NOT NULL CHECK (burst BETWEEN 1 AND 1000000),
    PRIMARY KEY (tenant_id, scope, name)
);

CREATE TABLE rate_buckets (
    tenant_id text NOT NULL,
    bucket text NOT NULL,
    full_at_us bigint NOT NULL,
    granted bigint NOT NULL,
    PRIMARY KEY (tenant_id, bucket)
) WITH (fillfactor = 50);
"""

# A bucket of an mcp_server's own is of no tenant, so there is no foreign key. The application changes no limit.
GRANTS = """
GRANT SELECT ON rate_limits TO gateway_app;
GRANT SELECT, INSERT, DELETE, UPDATE (full_at_us, granted) ON rate_buckets TO gateway_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in ("rate_limits", "rate_buckets"):
        wall_by_tenant(table)
    run_script(GRANTS)
