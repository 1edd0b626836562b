"""One stored card in one statement, as its capture is since 0007."""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CARD_OF = """
CREATE FUNCTION card_of(tenant text, token text) RETURNS TABLE (card cards, key_destroyed_at timestamptz)
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    RETURN QUERY SELECT c, k.destroyed_at FROM cards c
        LEFT JOIN tenant_keys k ON k.tenant_id = c.tenant_id AND k.version = c.key_version
        WHERE c.tenant_id = tenant AND c.token_id = token;
END $$
"""

RIGHTS = """
REVOKE ALL ON FUNCTION card_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION card_of TO vault_app;
"""


def upgrade() -> None:
    op.execute(CARD_OF)
    run_script(RIGHTS)
