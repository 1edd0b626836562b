"""The gateway's own tables: who, what was quoted, what was decided to be spent.

Every tenant table leads with `tenant_id` and shows only the rows of the transaction's tenant, also to its owner. The
directories have no row-level security: they only say which tenant an unguessable or public id belongs to.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

DIRECTORIES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE brand_directory (
    brand_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants,
    resource_url text NOT NULL UNIQUE,
    name text NOT NULL,
    slug text NOT NULL
);
CREATE TABLE capture_directory (
    capture_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants
);
"""

PEOPLE = """
CREATE TABLE brands (
    tenant_id text NOT NULL REFERENCES tenants,
    brand_id text NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    resource_url text NOT NULL UNIQUE,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    paid_count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, brand_id)
);
CREATE TABLE subjects (
    tenant_id text NOT NULL,
    subject_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_id)
);
CREATE TABLE contact_points (
    tenant_id text NOT NULL,
    contact_id text NOT NULL,
    subject_id text NOT NULL,
    kind text NOT NULL,
    blind_index bytea NOT NULL,
    sealed_value bytea NOT NULL,
    verified_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    UNIQUE (tenant_id, kind, blind_index, subject_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects
);
CREATE INDEX contact_points_of_subject ON contact_points (tenant_id, subject_id);
CREATE TABLE conversations (
    tenant_id text NOT NULL,
    conversation_id text NOT NULL,
    brand_id text NOT NULL,
    channel text NOT NULL,
    client_id text NOT NULL,
    subject_id text,
    claimed_contact_kind text,
    claimed_contact_blind bytea,
    claimed_contact_sealed bytea,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, conversation_id),
    FOREIGN KEY (tenant_id, brand_id) REFERENCES brands,
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects
);
CREATE TABLE evidence (
    tenant_id text NOT NULL,
    evidence_id text NOT NULL,
    conversation_id text NOT NULL,
    subject_id text NOT NULL,
    kind text NOT NULL,
    obtained_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, evidence_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations
);
CREATE INDEX evidence_of_conversation ON evidence (tenant_id, conversation_id, expires_at);
CREATE TABLE challenges (
    tenant_id text NOT NULL,
    challenge_id text NOT NULL,
    purpose text NOT NULL,
    method text NOT NULL,
    conversation_id text,
    client_id text,
    contact_kind text NOT NULL,
    sent_index bytea NOT NULL,
    contact_sealed bytea NOT NULL,
    code_hmac bytea NOT NULL,
    tries_left smallint NOT NULL CHECK (tries_left >= 0),
    sent_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    answered_at timestamptz,
    PRIMARY KEY (tenant_id, challenge_id)
);
CREATE INDEX challenges_by_contact ON challenges (tenant_id, sent_index, sent_at);
CREATE INDEX challenges_by_client ON challenges (tenant_id, client_id, sent_at);
"""

MONEY = """
CREATE TABLE mandates (
    tenant_id text NOT NULL,
    mandate_id text NOT NULL,
    subject_id text NOT NULL,
    brand_id text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payment_cap_minor bigint NOT NULL CHECK (payment_cap_minor > 0),
    day_cap_minor bigint NOT NULL CHECK (day_cap_minor >= payment_cap_minor),
    delegates text[] NOT NULL CHECK (cardinality(delegates) > 0),
    granted_in text NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, mandate_id),
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects,
    FOREIGN KEY (tenant_id, brand_id) REFERENCES brands
);
CREATE INDEX mandates_of_subject ON mandates (tenant_id, subject_id);
CREATE TABLE quotes (
    tenant_id text NOT NULL,
    checkout_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text,
    client_id text NOT NULL,
    cart_sha256 text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    description text NOT NULL,
    quoted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, checkout_id),
    FOREIGN KEY (tenant_id, brand_id) REFERENCES brands,
    FOREIGN KEY (tenant_id, subject_id) REFERENCES subjects
);
CREATE TABLE purchases (
    tenant_id text NOT NULL,
    purchase_id text NOT NULL,
    checkout_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    conversation_id text NOT NULL,
    client_id text NOT NULL,
    cart_sha256 text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('needs_card', 'charging', 'paid', 'declined', 'failed', 'unknown')),
    decision_id text NOT NULL,
    reservation_id text NOT NULL,
    capture_id text,
    token_id text,
    charge_id text,
    charge_calls integer NOT NULL DEFAULT 0,
    called_at timestamptz,
    card_brand text,
    card_last4 text,
    card_refused boolean NOT NULL DEFAULT false,
    reason text,
    created_at timestamptz NOT NULL,
    paid_at timestamptz,
    paid_position bigint,
    PRIMARY KEY (tenant_id, purchase_id),
    UNIQUE (tenant_id, checkout_id),
    UNIQUE (tenant_id, brand_id, paid_position),
    FOREIGN KEY (tenant_id, checkout_id) REFERENCES quotes,
    CHECK (state NOT IN ('charging', 'unknown', 'paid') OR (charge_id IS NOT NULL AND token_id IS NOT NULL)),
    CHECK ((state = 'paid') = (paid_at IS NOT NULL AND paid_position IS NOT NULL))
);
CREATE INDEX purchases_unfinished ON purchases (tenant_id, called_at) WHERE state IN ('charging', 'unknown');
CREATE TABLE reservations (
    tenant_id text NOT NULL,
    reservation_id text NOT NULL,
    mandate_id text NOT NULL,
    purchase_id text NOT NULL,
    day date NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    state text NOT NULL CHECK (state IN ('held', 'posted', 'voided')),
    reserved_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, reservation_id),
    FOREIGN KEY (tenant_id, mandate_id) REFERENCES mandates,
    CHECK ((state = 'held') = (closed_at IS NULL))
);
CREATE UNIQUE INDEX reservations_one_held ON reservations (tenant_id, purchase_id) WHERE state = 'held';
CREATE INDEX reservations_of_day ON reservations (tenant_id, mandate_id, day) WHERE state <> 'voided';
CREATE INDEX reservations_held ON reservations (tenant_id, expires_at) WHERE state = 'held';
CREATE TABLE captures (
    tenant_id text NOT NULL,
    capture_id text NOT NULL,
    purchase_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'completed', 'expired')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, capture_id),
    FOREIGN KEY (tenant_id, purchase_id) REFERENCES purchases
);
CREATE TABLE cards (
    tenant_id text NOT NULL,
    subject_id text NOT NULL,
    brand_id text NOT NULL,
    token_id text NOT NULL,
    card_brand text NOT NULL,
    last4 text NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
    kept_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_id, brand_id)
);
CREATE TABLE refunds (
    tenant_id text NOT NULL,
    refund_id text NOT NULL,
    purchase_id text NOT NULL,
    request_key text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    state text NOT NULL CHECK (state IN ('refunding', 'refunded', 'failed', 'unknown')),
    decision_id text NOT NULL,
    client_id text NOT NULL,
    created_at timestamptz NOT NULL,
    called_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, refund_id),
    UNIQUE (tenant_id, purchase_id, request_key),
    FOREIGN KEY (tenant_id, purchase_id) REFERENCES purchases
);
CREATE INDEX refunds_unfinished ON refunds (tenant_id, called_at) WHERE state IN ('refunding', 'unknown');
"""

TENANT_TABLES = (
    "brands", "subjects", "contact_points", "conversations", "evidence", "challenges", "mandates", "quotes",
    "purchases", "reservations", "captures", "cards", "refunds",
)  # fmt: skip

GRANTS = """
GRANT SELECT ON tenants, brand_directory, brands TO gateway_app;
GRANT SELECT, INSERT ON capture_directory, subjects, contact_points, conversations, evidence, challenges, mandates,
    quotes, purchases, reservations, captures, cards, refunds TO gateway_app;
GRANT UPDATE (paid_count) ON brands TO gateway_app;
GRANT UPDATE (verified_at) ON contact_points TO gateway_app;
GRANT UPDATE (subject_id, closed_at) ON conversations TO gateway_app;
GRANT UPDATE (tries_left, answered_at) ON challenges TO gateway_app;
GRANT UPDATE (revoked_at) ON mandates TO gateway_app;
GRANT UPDATE (client_id, cart_sha256, amount_minor, currency, description, quoted_at, expires_at) ON quotes
    TO gateway_app;
GRANT UPDATE (conversation_id, client_id, cart_sha256, amount_minor, currency, state, decision_id, reservation_id,
    capture_id, token_id, charge_id, charge_calls, called_at, card_brand, card_last4, card_refused, reason, paid_at,
    paid_position) ON purchases TO gateway_app;
GRANT UPDATE (state) ON captures TO gateway_app;
GRANT UPDATE (token_id, card_brand, last4, kept_at) ON cards TO gateway_app;
GRANT UPDATE (state, called_at) ON refunds TO gateway_app;
GRANT UPDATE (state, expires_at, closed_at) ON reservations TO gateway_app;
GRANT DELETE ON cards TO gateway_app;
"""


def upgrade() -> None:
    run_script(DIRECTORIES + PEOPLE + MONEY + GRANTS)
    for table in TENANT_TABLES:
        wall_by_tenant(table)
