"""Destinations, where a stored card may be sent, and forwards, each of which sent one there at most once.

The service reads destinations and does not write them: registering is the owner's. A forward's end is never rewritten,
whatever the code does.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE destinations (
    tenant_id text NOT NULL REFERENCES tenants,
    destination_id text NOT NULL CHECK (destination_id ~ '^dst_[a-z0-9_]+$'),
    brand_id text NOT NULL,
    url text NOT NULL CHECK (url ~ '^https?://[a-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~/-]+$'),
    method text NOT NULL CHECK (method IN ('POST', 'PUT', 'PATCH')),
    body text NOT NULL CHECK (body IN ('json', 'form')),
    fields jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'object'),
    agents text[] NOT NULL CHECK (cardinality(agents) > 0),
    answer_headers text[] NOT NULL,
    credential_header text,
    registered_by text NOT NULL,
    registered_at timestamptz NOT NULL,
    withdrawn_by text,
    withdrawn_at timestamptz,
    PRIMARY KEY (tenant_id, destination_id),
    CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
);

CREATE TABLE forwards (
    tenant_id text NOT NULL REFERENCES tenants,
    forward_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    destination_id text NOT NULL,
    token_id text NOT NULL,
    template_sha256 bytea NOT NULL CHECK (octet_length(template_sha256) = 32),
    actor text NOT NULL,
    state text NOT NULL CHECK (state IN ('intended', 'forwarded', 'failed', 'unknown')),
    reason text,
    http_status integer CHECK ((http_status IS NOT NULL) = (state = 'forwarded')),
    withheld text,
    redactions integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    worked_until timestamptz CHECK ((worked_until IS NOT NULL) = (state = 'intended')),
    PRIMARY KEY (tenant_id, forward_id),
    FOREIGN KEY (tenant_id, destination_id) REFERENCES destinations,
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id)
);
"""

FUNCTIONS = (
    """
CREATE FUNCTION keep_forward_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state <> 'intended' THEN
        RAISE EXCEPTION 'a forward begins as an intention' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.state <> 'intended' THEN
        RAISE EXCEPTION 'the end of a forward stands' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE FUNCTION keep_destination() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.withdrawn_at IS NOT NULL
            OR to_jsonb(NEW) - 'withdrawn_at' - 'withdrawn_by' <> to_jsonb(OLD) - 'withdrawn_at' - 'withdrawn_by' THEN
        RAISE EXCEPTION 'a destination does not change' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
""",
)

TRIGGERS = """
CREATE TRIGGER states BEFORE INSERT OR UPDATE ON forwards FOR EACH ROW EXECUTE FUNCTION keep_forward_end();
CREATE TRIGGER stays BEFORE UPDATE ON destinations FOR EACH ROW EXECUTE FUNCTION keep_destination();
"""

RIGHTS = """
GRANT SELECT ON destinations TO vault_app;
GRANT SELECT, INSERT, UPDATE (state, reason, http_status, withheld, redactions, updated_at, worked_until)
    ON forwards TO vault_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    wall_by_tenant("destinations")
    wall_by_tenant("forwards")
    for function in FUNCTIONS:
        op.execute(function)
    run_script(TRIGGERS)
    run_script(RIGHTS)
