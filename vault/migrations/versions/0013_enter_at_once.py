"""A browser enters its capture in one statement, as it fills it in since 0007."""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ENTER_CAPTURE = """
CREATE FUNCTION enter_capture(tenant text, capture text, brand text, subject text, browser bytea) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    UPDATE captures c SET browser_hash = browser WHERE c.tenant_id = tenant AND c.capture_id = capture
        AND c.brand_id = brand AND c.subject_id = subject;
    RETURN FOUND;
END $$
"""

RIGHTS = """
REVOKE ALL ON FUNCTION enter_capture FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_capture TO vault_app;
"""


def upgrade() -> None:
    op.execute(ENTER_CAPTURE)
    run_script(RIGHTS)
