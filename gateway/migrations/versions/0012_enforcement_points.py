"""Enforcement points: clients of a tenant that ask on the AuthZEN listener, and do nothing else."""

from infra.chassis.migrate import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("""
        ALTER TABLE client_directory
            DROP CONSTRAINT client_directory_kind_check,
            DROP CONSTRAINT client_directory_check,
            ADD CONSTRAINT client_directory_kind CHECK (kind IN ('agent', 'mcp_server', 'enforcement_point')),
            ADD CONSTRAINT client_directory_tenant CHECK ((kind = 'mcp_server') = (tenant_id IS NULL));
    """)
