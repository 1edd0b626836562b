"""What is not needed any more goes as well: cards whose one use is spent, and old inquiries at the card updater."""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

SHREDDINGS = """
ALTER TABLE shreddings DROP CONSTRAINT shreddings_cause_check;
ALTER TABLE shreddings ADD CONSTRAINT shreddings_cause_check
    CHECK (cause IN ('ordered', 'expired', 'replaced', 'spent'));
"""

HERE = "tenant_id = current_setting('undercroft.tenant', true)"
OLD = "asked_at < now() - interval '40 days'"
"""By the database's own clock, and longer than any month: its row is what holds a card to one inquiry a month."""


def upgrade() -> None:
    run_script(SHREDDINGS)
    op.execute("DROP POLICY own_tenant ON card_inquiries")
    op.execute(f"CREATE POLICY of_tenant_read ON card_inquiries FOR SELECT USING ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_add ON card_inquiries FOR INSERT WITH CHECK ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_change ON card_inquiries FOR UPDATE USING ({HERE}) WITH CHECK ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_purge ON card_inquiries FOR DELETE USING ({HERE} AND {OLD})")
    op.execute("GRANT DELETE ON card_inquiries TO vault_app")
