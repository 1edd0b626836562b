"""The language a capture names for its page, if it names one."""

from infra.chassis.migrate import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE_LANGUAGE = """
ALTER TABLE captures ADD COLUMN language text CHECK (language ~ '^[a-z]{2}$');
"""


def upgrade() -> None:
    run_script(PAGE_LANGUAGE)
