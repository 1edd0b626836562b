"""Providers, links between their people and our subjects, passkeys, and challenges that a person answers elsewhere.

Providers are written by the owner only. No secret stands here but the PKCE verifiers and nonces of logins under way,
which are of use only with our own key and within minutes.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE openid_providers (
    tenant_id text NOT NULL,
    brand_id text NOT NULL,
    name text NOT NULL,
    issuer text NOT NULL,
    client_id text NOT NULL,
    client_auth text NOT NULL CHECK (client_auth IN ('private_key_jwt', 'client_secret_basic')),
    credential text NOT NULL,
    signing_alg text NOT NULL CHECK (signing_alg IN ('RS256', 'PS256', 'ES256', 'EdDSA')),
    acr_levels jsonb NOT NULL,
    amr_levels jsonb NOT NULL,
    unmapped text CHECK (unmapped = 'verified'),
    first_link text NOT NULL CHECK (first_link IN ('verified_conversation', 'verified_email')),
    max_age_seconds integer NOT NULL CHECK (max_age_seconds BETWEEN 60 AND 43200),
    phone_approval boolean NOT NULL,
    withdrawn_at timestamptz,
    PRIMARY KEY (tenant_id, brand_id),
    FOREIGN KEY (tenant_id, brand_id) REFERENCES brands
);
CREATE TABLE identity_links (
    tenant_id text NOT NULL,
    issuer text NOT NULL,
    sub text NOT NULL,
    subject_id text NOT NULL,
    linked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, issuer, sub),
    UNIQUE (tenant_id, issuer, subject_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects
);
CREATE TABLE factor_challenges (
    tenant_id text NOT NULL,
    challenge_id text NOT NULL,
    method text NOT NULL CHECK (method IN ('openid_login', 'passkey', 'phone_approval')),
    conversation_id text NOT NULL,
    client_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text,
    state text NOT NULL CHECK (state IN ('pending', 'passed', 'refused', 'expired', 'failed')),
    match_code text NOT NULL,
    link_sha256 bytea,
    confirms jsonb,
    request_sha256 text CHECK (request_sha256 ~ '^[0-9a-f]{64}$'),
    issuer text,
    sub text,
    auth_req_id text,
    interval_seconds integer,
    next_poll_at timestamptz,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, challenge_id),
    UNIQUE (tenant_id, link_sha256),
    UNIQUE (tenant_id, issuer, auth_req_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations,
    CHECK ((state = 'pending') = (finished_at IS NULL)),
    CHECK ((confirms IS NULL) = (request_sha256 IS NULL)),
    CHECK (method = 'passkey' OR confirms IS NULL),
    CHECK ((method = 'phone_approval') = (link_sha256 IS NULL)),
    CHECK (method <> 'phone_approval' OR (issuer IS NOT NULL AND sub IS NOT NULL AND subject_id IS NOT NULL))
);
CREATE INDEX factor_challenges_of_conversation ON factor_challenges (tenant_id, conversation_id, asked_at);
CREATE INDEX factor_challenges_of_subject ON factor_challenges (tenant_id, subject_id, asked_at);
CREATE TABLE factor_visits (
    tenant_id text NOT NULL,
    visit_sha256 bytea NOT NULL,
    browser_sha256 bytea NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('openid', 'passkey', 'prove', 'register')),
    challenge_id text,
    subject_id text,
    nonce text,
    verifier text,
    webauthn_challenge bytea,
    begun_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, visit_sha256),
    CHECK ((purpose IN ('openid', 'passkey')) = (challenge_id IS NOT NULL)),
    CHECK ((purpose IN ('prove', 'register')) = (subject_id IS NOT NULL)),
    CHECK ((purpose = 'openid') = (nonce IS NOT NULL AND verifier IS NOT NULL)),
    CHECK ((purpose = 'openid') = (webauthn_challenge IS NULL))
);
CREATE INDEX factor_visits_by_end ON factor_visits (tenant_id, expires_at);
CREATE INDEX factor_visits_of_challenge ON factor_visits (tenant_id, challenge_id);
CREATE TABLE passkeys (
    tenant_id text NOT NULL,
    credential_id bytea NOT NULL,
    passkey_id text NOT NULL,
    subject_id text NOT NULL,
    name text NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL CHECK (sign_count >= 0),
    multi_device boolean NOT NULL,
    backed_up boolean NOT NULL,
    aaguid text NOT NULL,
    added_at timestamptz NOT NULL,
    used_at timestamptz,
    suspended_at timestamptz,
    removed_at timestamptz,
    PRIMARY KEY (tenant_id, credential_id),
    UNIQUE (tenant_id, passkey_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects
);
CREATE INDEX passkeys_of_subject ON passkeys (tenant_id, subject_id);
ALTER TABLE visits DROP CONSTRAINT visits_purpose_check;
ALTER TABLE visits ADD CONSTRAINT visits_purpose_check CHECK (purpose IN ('consent', 'door', 'passkeys'));
"""

WALLED = ("openid_providers", "identity_links", "factor_challenges", "factor_visits", "passkeys")

GRANTS = """
GRANT SELECT ON openid_providers TO gateway_app;
GRANT SELECT, INSERT ON identity_links, factor_challenges, passkeys TO gateway_app;
GRANT SELECT, INSERT, DELETE ON factor_visits TO gateway_app;
GRANT UPDATE (subject_id, state, auth_req_id, interval_seconds, next_poll_at, expires_at, finished_at)
    ON factor_challenges TO gateway_app;
GRANT UPDATE (sign_count, backed_up, used_at, suspended_at, removed_at) ON passkeys TO gateway_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in WALLED:
        wall_by_tenant(table)
    run_script(GRANTS)
