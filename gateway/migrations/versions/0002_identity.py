"""Clients, visits, logins, consents, codes and refresh bearers.

Only hashes of codes, refresh bearers and cookies are stored. Tables without a tenant are looked into before any tenant
is known: the client directory (read only for the application), assistants' registrations, spent assertions.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DIRECTORIES = """
CREATE TABLE client_directory (
    client_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('agent', 'mcp_server')),
    tenant_id text,
    name text NOT NULL,
    scopes text[] NOT NULL,
    public_jwk jsonb NOT NULL,
    withdrawn_at timestamptz,
    CHECK ((kind = 'agent') = (tenant_id IS NOT NULL))
);
CREATE TABLE client_brands (
    client_id text NOT NULL REFERENCES client_directory,
    brand_id text NOT NULL,
    PRIMARY KEY (client_id, brand_id)
);
CREATE TABLE assistant_clients (
    client_id text PRIMARY KEY,
    client_name text NOT NULL,
    redirect_uris text[] NOT NULL,
    refreshes boolean NOT NULL,
    registered_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX assistant_clients_unused ON assistant_clients (registered_at) WHERE used_at IS NULL;
CREATE TABLE spent_assertions (
    issuer text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX spent_assertions_by_end ON spent_assertions (expires_at);
"""

TENANT_TABLES = """
CREATE TABLE visits (
    tenant_id text NOT NULL,
    visit_id text NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('consent', 'door')),
    browser_sha256 bytea NOT NULL,
    brand_name text NOT NULL,
    brand_id text,
    capture_id text,
    client_id text,
    request jsonb,
    challenge_id text,
    sent_to text,
    subject_id text,
    proven_at timestamptz,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, visit_id),
    CHECK ((purpose = 'consent') = (request IS NOT NULL AND client_id IS NOT NULL AND brand_id IS NOT NULL)),
    CHECK ((purpose = 'door') = (capture_id IS NOT NULL)),
    CHECK ((subject_id IS NULL) = (proven_at IS NULL))
);
CREATE INDEX visits_by_end ON visits (tenant_id, expires_at);
CREATE INDEX visits_by_client ON visits (tenant_id, client_id);
CREATE TABLE browser_logins (
    tenant_id text NOT NULL,
    login_sha256 bytea NOT NULL,
    subject_id text NOT NULL,
    proven_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, login_sha256)
);
CREATE INDEX browser_logins_by_end ON browser_logins (tenant_id, expires_at);
CREATE TABLE consents (
    tenant_id text NOT NULL,
    consent_id text NOT NULL,
    client_id text NOT NULL,
    subject_id text NOT NULL,
    brand_id text NOT NULL,
    conversation_id text NOT NULL,
    resource_url text NOT NULL,
    scopes text[] NOT NULL,
    mandate_id text,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_because text,
    PRIMARY KEY (tenant_id, consent_id),
    UNIQUE (tenant_id, conversation_id),
    CHECK ((revoked_at IS NULL) = (revoked_because IS NULL))
);
CREATE TABLE authorization_codes (
    tenant_id text NOT NULL,
    code_sha256 bytea NOT NULL,
    consent_id text NOT NULL,
    redirect_uri text NOT NULL,
    code_challenge text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (tenant_id, code_sha256),
    FOREIGN KEY (tenant_id, consent_id) REFERENCES consents
);
CREATE INDEX authorization_codes_by_end ON authorization_codes (tenant_id, expires_at);
CREATE TABLE refresh_bearers (
    tenant_id text NOT NULL,
    refresh_sha256 bytea NOT NULL,
    consent_id text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (tenant_id, refresh_sha256),
    FOREIGN KEY (tenant_id, consent_id) REFERENCES consents
);
CREATE INDEX refresh_bearers_by_end ON refresh_bearers (tenant_id, expires_at);
"""

WALLED = ("visits", "browser_logins", "consents", "authorization_codes", "refresh_bearers")

GRANTS = """
GRANT SELECT ON client_directory, client_brands TO gateway_app;
GRANT SELECT, INSERT, DELETE ON assistant_clients, spent_assertions, visits, browser_logins, authorization_codes,
    refresh_bearers TO gateway_app;
GRANT SELECT, INSERT ON consents TO gateway_app;
GRANT UPDATE (used_at) ON assistant_clients, authorization_codes, refresh_bearers TO gateway_app;
GRANT UPDATE (browser_sha256, challenge_id, sent_to, subject_id, proven_at) ON visits TO gateway_app;
GRANT UPDATE (revoked_at, revoked_because) ON consents TO gateway_app;
"""


def upgrade() -> None:
    run_script(DIRECTORIES)
    run_script(TENANT_TABLES)
    for table in WALLED:
        wall_by_tenant(table)
    run_script(GRANTS)
