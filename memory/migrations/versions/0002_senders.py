"""Used-up grants by issuer and id, each with the proof of its sender, which is used up with it.

What was used up before names no issuer and goes. It cannot be used again: grants of before are bound to no sender,
which the code that comes with this refuses.
"""

from infra.chassis.migrate import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SENDERS = """
TRUNCATE redeemed_grants;
ALTER TABLE redeemed_grants DROP CONSTRAINT redeemed_grants_pkey;
ALTER TABLE redeemed_grants ADD COLUMN issuer text NOT NULL;
ALTER TABLE redeemed_grants ADD COLUMN sender text;
ALTER TABLE redeemed_grants ADD COLUMN proof_jti text;
ALTER TABLE redeemed_grants ADD PRIMARY KEY (tenant_id, issuer, jti);
ALTER TABLE redeemed_grants ADD UNIQUE (tenant_id, sender, proof_jti);
ALTER TABLE redeemed_grants ADD CHECK ((sender IS NULL) = (proof_jti IS NULL));
"""


def upgrade() -> None:
    run_script(SENDERS)
