"""The outbox: what tenants are told, to whom it is owed, each attempt to deliver it, and where to.

An event is only added to and never changed; it goes when it is old and owed to nobody. What is owed, and every attempt,
goes with its event.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE webhook_endpoints (
    tenant_id text NOT NULL REFERENCES tenants,
    endpoint_id text NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2048),
    kinds text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    disabled_why text CHECK (disabled_why IN ('gone', 'ordered')),
    disabled_at timestamptz,
    created_at timestamptz NOT NULL,
    failing_since timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    resting_until timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id),
    CHECK ((state = 'disabled') = (disabled_why IS NOT NULL)),
    CHECK ((state = 'disabled') = (disabled_at IS NOT NULL)),
    CHECK ((failures > 0) = (failing_since IS NOT NULL))
);
CREATE UNIQUE INDEX one_endpoint_a_url ON webhook_endpoints (tenant_id, url) WHERE state = 'enabled';

CREATE TABLE endpoint_keys (
    tenant_id text NOT NULL,
    endpoint_id text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    salt bytea NOT NULL CHECK (octet_length(salt) = 32),
    made_at timestamptz NOT NULL,
    ends_at timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id, version),
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints (tenant_id, endpoint_id)
);
CREATE UNIQUE INDEX one_key_without_end ON endpoint_keys (tenant_id, endpoint_id) WHERE ends_at IS NULL;

CREATE TABLE outbox_events (
    tenant_id text NOT NULL REFERENCES tenants,
    event_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    about text NOT NULL,
    payload text NOT NULL CHECK (octet_length(payload) <= 20480),
    happened_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX outbox_events_by_age ON outbox_events (tenant_id, happened_at);
CREATE INDEX outbox_events_about ON outbox_events (tenant_id, about);

CREATE TABLE dispatches (
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    endpoint_id text NOT NULL,
    about text NOT NULL,
    position bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    owed_since timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    delivery_id text,
    last_status integer,
    last_failure text,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, event_id, endpoint_id),
    FOREIGN KEY (tenant_id, event_id) REFERENCES outbox_events (tenant_id, event_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints (tenant_id, endpoint_id),
    CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE INDEX dispatches_due ON dispatches (tenant_id, endpoint_id, next_at) WHERE state = 'waiting';
CREATE INDEX dispatches_in_order ON dispatches (tenant_id, endpoint_id, about, position) WHERE state = 'waiting';
CREATE INDEX dispatches_dead ON dispatches (tenant_id, endpoint_id) WHERE state = 'dead';

CREATE TABLE deliveries (
    tenant_id text NOT NULL,
    delivery_id text NOT NULL,
    event_id text NOT NULL,
    endpoint_id text NOT NULL,
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    status integer,
    failure text,
    PRIMARY KEY (tenant_id, delivery_id),
    FOREIGN KEY (tenant_id, event_id, endpoint_id) REFERENCES dispatches (tenant_id, event_id, endpoint_id)
        ON DELETE CASCADE
);
CREATE INDEX deliveries_of_dispatch ON deliveries (tenant_id, event_id, endpoint_id);
"""
"""`position` grows in the order in which events were added. Whoever adds one about a charge holds the charge's row, so
of one charge it is also the order in which they became true. An attempt without an end was killed, or is under way."""

RIGHTS = """
GRANT SELECT, INSERT, UPDATE (state, disabled_why, disabled_at, failing_since, failures, resting_until)
    ON webhook_endpoints TO vault_app;
GRANT SELECT, INSERT, UPDATE (ends_at) ON endpoint_keys TO vault_app;
GRANT SELECT, INSERT, DELETE ON outbox_events TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, attempts, owed_since, next_at, delivery_id, last_status, last_failure, ended_at)
    ON dispatches TO vault_app;
GRANT SELECT, INSERT, UPDATE (ended_at, status, failure) ON deliveries TO vault_app;
"""
"""Where an endpoint is and what an event says is never changed; a moved endpoint is another endpoint."""

HERE = "tenant_id = current_setting('undercroft.tenant', true)"
OLD = "happened_at < now() - interval '7 days'"
KEEP_OWED = """
CREATE FUNCTION keep_owed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM dispatches WHERE tenant_id = OLD.tenant_id AND event_id = OLD.event_id
            AND state = 'waiting') THEN
        RETURN NULL;
    END IF;
    RETURN OLD;
END $$
"""
"""Which events may be deleted at all, by the database's own clock and rows: no young one, none owed to anybody."""


def upgrade() -> None:
    run_script(TABLES)
    for table in ("webhook_endpoints", "endpoint_keys", "dispatches", "deliveries"):
        wall_by_tenant(table)
    op.execute("ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE outbox_events FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY of_tenant_read ON outbox_events FOR SELECT USING ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_add ON outbox_events FOR INSERT WITH CHECK ({HERE})")
    op.execute(f"CREATE POLICY of_tenant_purge ON outbox_events FOR DELETE USING ({HERE} AND {OLD})")
    op.execute(KEEP_OWED)
    op.execute(
        "CREATE TRIGGER kept_while_owed BEFORE DELETE ON outbox_events FOR EACH ROW EXECUTE FUNCTION keep_owed()"
    )
    run_script(RIGHTS)
