"""A refund's key at the processor, kept while anything asked under it may still happen; payments astray are kept, too.

Of refunds that are not ended, nobody knows under which keys they were asked for before: they count as asked for just
now, under a key that is used up. So none is asked for again before everything older is over (vault/refund_keys.py).
"""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

REFUNDS = """
ALTER TABLE refunds ADD COLUMN key_since timestamptz NOT NULL DEFAULT now() - interval '1 day';
ALTER TABLE refunds ADD COLUMN asked_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE refunds ALTER COLUMN key_since DROP DEFAULT;
ALTER TABLE refunds ALTER COLUMN asked_at DROP DEFAULT;
GRANT UPDATE (key_since, asked_at) ON refunds TO vault_app;
"""

KEEP_KEY = """
CREATE FUNCTION keep_refund_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.key_since > NEW.key_since - interval '23 hours' OR OLD.asked_at > NEW.key_since - interval '2 hours' THEN
        RAISE EXCEPTION 'a refund that may still be made keeps its key' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""
"""The bounds of vault/refund_keys.py: whatever code asks, there is no second key while the first may still act."""

KEPT = """
CREATE TRIGGER kept_key BEFORE UPDATE OF key_since ON refunds
    FOR EACH ROW WHEN (NEW.key_since <> OLD.key_since) EXECUTE FUNCTION keep_refund_key();
"""

ASTRAY = """
ALTER TABLE leftovers ADD COLUMN astray_ref text;
GRANT UPDATE (astray_ref) ON leftovers TO vault_app;
"""


def upgrade() -> None:
    run_script(REFUNDS)
    op.execute(KEEP_KEY)
    run_script(KEPT)
    run_script(ASTRAY)
