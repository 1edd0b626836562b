"""Which brands take telephone orders, as their operator says, and how the card of a capture comes in."""

from infra.chassis.migrate import run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("""
        ALTER TABLE brands ADD COLUMN phone_orders boolean NOT NULL DEFAULT false;
        ALTER TABLE captures ADD COLUMN channel text NOT NULL DEFAULT 'page' CHECK (channel IN ('page', 'phone'));
    """)
