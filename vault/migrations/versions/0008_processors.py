"""Which processor a charge was given to. All of before were given to Stripe, the only one there was."""

from infra.chassis.migrate import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PROCESSOR = """
ALTER TABLE charges ADD COLUMN processor text NOT NULL DEFAULT 'stripe' CHECK (processor ~ '^[a-z]{2,20}$');
"""


def upgrade() -> None:
    run_script(PROCESSOR)
