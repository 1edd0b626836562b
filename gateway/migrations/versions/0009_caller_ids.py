"""The numbers a brand is called at: what a carrier signed for a call to somebody else is of no use to it."""

from infra.chassis.migrate import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE brands ADD COLUMN phone_numbers text[] NOT NULL DEFAULT '{}';
"""


def upgrade() -> None:
    run_script(CHANGES)
