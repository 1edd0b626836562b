"""The life of keys and cards: states of tenant keys, seals counted, cards that can be shredded and moved to a new key.

What the code promises holds here once more, whatever the code does: nothing is sealed under a key that is not active,
no tenant key comes back from where it went, none is wrapped under a root that is about to be destroyed, and a shredded
card holds nothing any more.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SEALED_UNDER = """
CREATE FUNCTION sealed_under(sealed bytea) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    'SELECT CASE WHEN octet_length(sealed) > 4 THEN
        (get_byte(sealed, 1) << 24) | (get_byte(sealed, 2) << 16) | (get_byte(sealed, 3) << 8) | get_byte(sealed, 4)
        END'
"""
"""The version of the tenant's key, as the sealed text itself says (vault/envelope.py)."""

TENANT_KEYS = """
ALTER TABLE tenant_keys NO FORCE ROW LEVEL SECURITY;
ALTER TABLE cards NO FORCE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys ADD COLUMN state text NOT NULL DEFAULT 'active';
ALTER TABLE tenant_keys ADD COLUMN retired_at timestamptz;
ALTER TABLE tenant_keys ADD COLUMN destroyed_at timestamptz;
ALTER TABLE tenant_keys ADD COLUMN seals bigint NOT NULL DEFAULT 0;
ALTER TABLE tenant_keys ADD COLUMN root_version integer NOT NULL DEFAULT 1;
ALTER TABLE tenant_keys ALTER COLUMN state DROP DEFAULT;
ALTER TABLE tenant_keys ALTER COLUMN root_version DROP DEFAULT;
ALTER TABLE tenant_keys ALTER COLUMN wrapped_key DROP NOT NULL;
ALTER TABLE tenant_keys ADD CHECK (state IN ('active', 'retired', 'destroyed'));
ALTER TABLE tenant_keys ADD CHECK ((state = 'destroyed') = (wrapped_key IS NULL));
ALTER TABLE tenant_keys ADD CHECK ((state = 'destroyed') = (destroyed_at IS NOT NULL));
ALTER TABLE tenant_keys ADD CHECK (state <> 'retired' OR retired_at IS NOT NULL);
CREATE UNIQUE INDEX one_active_key ON tenant_keys (tenant_id) WHERE state = 'active';
UPDATE tenant_keys k SET seals = (SELECT count(*) FROM cards c WHERE c.tenant_id = k.tenant_id);
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
"""

CARDS = """
ALTER TABLE cards ADD COLUMN key_version integer GENERATED ALWAYS AS (sealed_under(wrapped_key)) STORED;
ALTER TABLE cards ADD COLUMN sealed_fingerprint bytea;
ALTER TABLE cards ADD COLUMN good_through date;
ALTER TABLE cards ADD COLUMN shredded_at timestamptz;
ALTER TABLE cards DROP CONSTRAINT cards_fingerprint_check;
ALTER TABLE cards ADD CONSTRAINT cards_whole_or_shredded CHECK (CASE WHEN shredded_at IS NULL
    THEN octet_length(fingerprint) = 32 AND octet_length(wrapped_key) > 4 AND octet_length(sealed_number) > 0
        AND octet_length(sealed_details) > 0
    ELSE octet_length(fingerprint) + octet_length(wrapped_key) + octet_length(sealed_number)
        + octet_length(sealed_details) + octet_length(coalesce(sealed_fingerprint, '')) = 0 END);
CREATE INDEX cards_by_key ON cards (tenant_id, key_version, token_id) WHERE shredded_at IS NULL;
ALTER TABLE cards FORCE ROW LEVEL SECURITY;
"""
"""`good_through` is the last day of the card's month. The month is no sensitive authentication data (PCI DSS 3.3 names
those), and 3.5 asks for the number to be unreadable, not for the month: so it may stand in clear, and what expired is
found without opening anything. Cards of before have none until the job has read theirs."""

TABLES = """
CREATE TABLE key_moves (
    tenant_id text NOT NULL REFERENCES tenants,
    version integer NOT NULL,
    after_token_id text NOT NULL DEFAULT '',
    moved bigint NOT NULL DEFAULT 0,
    stuck bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, version),
    FOREIGN KEY (tenant_id, version) REFERENCES tenant_keys (tenant_id, version)
);

CREATE TABLE shreddings (
    tenant_id text NOT NULL REFERENCES tenants,
    shredding_id text NOT NULL,
    token_id text,
    cause text NOT NULL CHECK (cause IN ('ordered', 'expired')),
    ordered_by text NOT NULL,
    ordered_at timestamptz NOT NULL,
    through_version integer NOT NULL,
    round_id text,
    final_at timestamptz CHECK (final_at IS NULL OR round_id IS NOT NULL),
    PRIMARY KEY (tenant_id, shredding_id),
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id)
);
CREATE INDEX shreddings_not_final ON shreddings (tenant_id, ordered_at) WHERE final_at IS NULL;

CREATE TABLE key_acts (
    tenant_id text NOT NULL,
    act_id text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    act text NOT NULL,
    what text NOT NULL,
    outcome text NOT NULL,
    PRIMARY KEY (tenant_id, act_id)
);

CREATE TABLE root_floor (
    one boolean PRIMARY KEY CHECK (one),
    version integer NOT NULL
);
INSERT INTO root_floor VALUES (true, 1);

CREATE TABLE root_rounds (
    round_id text PRIMARY KEY,
    cause text NOT NULL CHECK (cause IN ('ordered', 'shredding', 'period')),
    ordered_by text NOT NULL,
    started_at timestamptz NOT NULL,
    step text NOT NULL,
    root_version integer,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text
);
CREATE UNIQUE INDEX one_round_at_a_time ON root_rounds ((finished_at IS NULL)) WHERE finished_at IS NULL;
"""
"""Acts about the root belong to no tenant and stand under the tenant `*`, which no tenant can be called."""

ACTIVE_ONLY = """
CREATE FUNCTION seal_under_active_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stands text;
BEGIN
    SELECT state INTO stands FROM tenant_keys
        WHERE tenant_id = NEW.tenant_id AND version = sealed_under(NEW.wrapped_key) FOR KEY SHARE;
    IF stands IS DISTINCT FROM 'active' THEN
        RAISE EXCEPTION 'sealed under a key that is not active' USING ERRCODE = 'UC001';
    END IF;
    RETURN NEW;
END $$
"""
"""The lock is the one a foreign key would take. Whoever retires a key takes the row for himself first (FOR UPDATE), so
he waits for every card on its way in, and every card after that waits for him and then sees the new state."""

STAYS_SHREDDED = """
CREATE FUNCTION stay_shredded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a shredded card stays shredded' USING ERRCODE = 'check_violation';
END $$
"""

ONE_WAY = """
CREATE FUNCTION allow_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lowest integer;
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state <> 'active' THEN
        RAISE EXCEPTION 'a tenant key begins active' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.state <> NEW.state AND (OLD.state, NEW.state)
            NOT IN (('active', 'retired'), ('active', 'destroyed'), ('retired', 'destroyed')) THEN
        RAISE EXCEPTION 'a tenant key does not come back' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.seals < OLD.seals THEN
        RAISE EXCEPTION 'seals are not taken back' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.wrapped_key IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.wrapped_key IS DISTINCT FROM OLD.wrapped_key) THEN
        SELECT version INTO lowest FROM root_floor FOR SHARE;
        IF NEW.root_version < lowest THEN
            RAISE EXCEPTION 'wrapped under a root that is going' USING ERRCODE = 'UC002';
        END IF;
    END IF;
    RETURN NEW;
END $$
"""

FLOOR_RISES = """
CREATE FUNCTION only_rise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version < OLD.version THEN
        RAISE EXCEPTION 'the floor under roots only rises' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

TRIGGERS = """
CREATE TRIGGER sealed_under_active_key BEFORE INSERT OR UPDATE OF wrapped_key ON cards
    FOR EACH ROW WHEN (octet_length(NEW.wrapped_key) > 0) EXECUTE FUNCTION seal_under_active_key();
CREATE TRIGGER stays_shredded BEFORE UPDATE OF shredded_at ON cards
    FOR EACH ROW WHEN (OLD.shredded_at IS NOT NULL) EXECUTE FUNCTION stay_shredded();
CREATE TRIGGER one_way BEFORE INSERT OR UPDATE ON tenant_keys FOR EACH ROW EXECUTE FUNCTION allow_key_change();
CREATE TRIGGER rises BEFORE UPDATE ON root_floor FOR EACH ROW EXECUTE FUNCTION only_rise();
"""

RIGHTS = """
GRANT UPDATE (state, wrapped_key, root_version, seals, retired_at, destroyed_at) ON tenant_keys TO vault_app;
GRANT UPDATE (wrapped_key, sealed_number, sealed_details, sealed_fingerprint, fingerprint, good_through, shredded_at)
    ON cards TO vault_app;
GRANT SELECT, INSERT, UPDATE (after_token_id, moved, stuck, updated_at, finished_at) ON key_moves TO vault_app;
GRANT SELECT, INSERT, UPDATE (round_id, final_at) ON shreddings TO vault_app;
GRANT SELECT, INSERT ON key_acts TO vault_app;
GRANT SELECT, UPDATE (version) ON root_floor TO vault_app;
GRANT SELECT, INSERT, UPDATE (step, root_version, updated_at, finished_at, outcome) ON root_rounds TO vault_app;
GRANT DELETE ON captures TO vault_app;
GRANT DELETE ON inbox_events TO vault_app;
"""

HERE = "tenant_id = current_setting('undercroft.tenant', true)"
PURGED = {
    "captures": "expires_at < now() - interval '1 day'",
    "inbox_events": "received_at < now() - interval '30 days'",
}
"""What may be deleted at all, by the database's own clock: no capture a page may still show, and no event the processor
might still repeat."""


def _purge_only(table: str, age: str) -> None:
    op.execute(f"DROP POLICY own_tenant ON {table}")
    op.execute(f"CREATE POLICY of_tenant_read ON {table} FOR SELECT USING ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_add ON {table} FOR INSERT WITH CHECK ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_change ON {table} FOR UPDATE USING ({HERE}) WITH CHECK ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_purge ON {table} FOR DELETE USING ({HERE} AND {age})")


def upgrade() -> None:
    op.execute(SEALED_UNDER)
    run_script(TENANT_KEYS)
    run_script(CARDS)
    run_script(TABLES)
    for table in ("key_moves", "shreddings", "key_acts"):
        wall_by_tenant(table)
    for table, age in PURGED.items():
        _purge_only(table, age)
    for function in (ACTIVE_ONLY, STAYS_SHREDDED, ONE_WAY, FLOOR_RISES):
        op.execute(function)
    run_script(TRIGGERS)
    run_script(RIGHTS)
