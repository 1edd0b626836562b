"""What evidence is worth depends on more than its kind: when it was last used, what it was about, how it came.

A confirmation is for one request and for one decision; a code and a caller id hold only while their contact point is
one subject's alone.
"""

from infra.chassis.migrate import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE evidence
    ADD COLUMN used_at timestamptz,
    ADD COLUMN level smallint CHECK (level BETWEEN 0 AND 4),
    ADD COLUMN request_sha256 text CHECK (request_sha256 ~ '^[0-9a-f]{64}$'),
    ADD COLUMN spent_at timestamptz,
    ADD COLUMN contact_kind text,
    ADD COLUMN contact_blind bytea,
    ADD CHECK ((contact_kind IS NULL) = (contact_blind IS NULL)),
    ADD CHECK (spent_at IS NULL OR request_sha256 IS NOT NULL);
GRANT UPDATE (used_at, spent_at) ON evidence TO gateway_app;
"""


def upgrade() -> None:
    run_script(CHANGES)
