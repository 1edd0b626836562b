"""What cards are asked for and kept for: the terms of their tokens, which card one replaces, and for whom it is kept.

Whose mandates are older were not asked whether their card is remembered; theirs was, and stays so. A card that was kept
before there were terms is kept for every agent with a mandate, as it was.
"""

from infra.chassis.migrate import run_script

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("""
        ALTER TABLE mandates ADD COLUMN remembers_card boolean NOT NULL DEFAULT true;
        ALTER TABLE mandates ALTER COLUMN remembers_card SET DEFAULT false;
        ALTER TABLE captures
            ADD COLUMN terms jsonb,
            ADD COLUMN replaces_card_of text,
            ADD COLUMN token_id text,
            ADD COLUMN language text;
        GRANT UPDATE (token_id) ON captures TO gateway_app;
        ALTER TABLE cards
            ADD COLUMN agent_id text NOT NULL DEFAULT '',
            ADD COLUMN terms jsonb,
            ADD COLUMN unusable boolean NOT NULL DEFAULT false,
            DROP CONSTRAINT cards_pkey,
            ADD PRIMARY KEY (tenant_id, subject_id, brand_id, agent_id);
        GRANT UPDATE (terms, unusable) ON cards TO gateway_app;
    """)
