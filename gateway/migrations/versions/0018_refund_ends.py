"""A refund that the vault refuses ends; of one that is under way now, a call counts as begun just now."""

from infra.chassis.migrate import run_script

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("""
        ALTER TABLE refunds
            ADD COLUMN calls integer NOT NULL DEFAULT 1 CHECK (calls > 0),
            ADD COLUMN open_since timestamptz DEFAULT now(),
            ADD COLUMN reason text CHECK (reason IS NULL OR state = 'failed');
        ALTER TABLE refunds ALTER COLUMN open_since DROP DEFAULT;
        GRANT UPDATE (calls, open_since, reason) ON refunds TO gateway_app;
    """)
