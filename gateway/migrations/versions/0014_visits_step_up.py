"""A visit on its way to a consent knows the conversation that the person's further proof is evidence of."""

from infra.chassis.migrate import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("""
        ALTER TABLE visits
            ADD COLUMN conversation_id text,
            ADD FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations,
            ADD CHECK (conversation_id IS NULL OR (purpose = 'consent' AND subject_id IS NOT NULL));
        GRANT UPDATE (conversation_id) ON visits TO gateway_app;
    """)
