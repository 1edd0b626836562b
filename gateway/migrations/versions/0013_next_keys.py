"""Clients may have a second key while they change from one to the other; both prove them until it is taken away."""

from infra.chassis.migrate import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("ALTER TABLE client_directory ADD COLUMN next_jwk jsonb;")
