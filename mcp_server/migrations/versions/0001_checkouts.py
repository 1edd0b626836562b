"""Checkouts, the carts they had, stock held for them, orders, and what makes a paused call single-use."""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE checkouts (
    tenant_id text NOT NULL,
    checkout_id text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    client_id text NOT NULL,
    cart_sha256 text NOT NULL,
    purchase_state text,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, checkout_id)
);

-- A checkout's carts are kept by their hash and never changed: the order is made from the very cart that was paid for.
CREATE TABLE carts (
    tenant_id text NOT NULL,
    checkout_id text NOT NULL,
    cart_sha256 text NOT NULL,
    cart jsonb NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, checkout_id, cart_sha256),
    FOREIGN KEY (tenant_id, checkout_id) REFERENCES checkouts
);

-- held_until is infinity once sold.
CREATE TABLE stock_holds (
    tenant_id text NOT NULL,
    checkout_id text NOT NULL,
    sku text NOT NULL,
    brand_id text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    held_until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, checkout_id, sku),
    FOREIGN KEY (tenant_id, checkout_id) REFERENCES checkouts
);
CREATE INDEX stock_holds_by_sku ON stock_holds (tenant_id, brand_id, sku, held_until);

CREATE TABLE orders (
    tenant_id text NOT NULL,
    order_id text NOT NULL,
    brand_id text NOT NULL,
    checkout_id text NOT NULL,
    subject_id text NOT NULL,
    purchase_id text NOT NULL,
    cart_sha256 text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    placed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, order_id),
    UNIQUE (tenant_id, checkout_id),
    UNIQUE (tenant_id, purchase_id),
    FOREIGN KEY (tenant_id, checkout_id, cart_sha256) REFERENCES carts
);
CREATE INDEX orders_by_subject ON orders (tenant_id, brand_id, subject_id, placed_at DESC);

CREATE TABLE paused_calls (
    tenant_id text NOT NULL,
    paused_call_id text NOT NULL,
    checkout_id text NOT NULL,
    capture_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    resumed_at timestamptz,
    PRIMARY KEY (tenant_id, paused_call_id),
    FOREIGN KEY (tenant_id, checkout_id) REFERENCES checkouts
);
CREATE INDEX paused_calls_expired ON paused_calls (tenant_id, expires_at);

-- How far this brand's paid purchases have been made into orders; the cursor is the gateway's.
CREATE TABLE purchase_cursors (
    tenant_id text NOT NULL,
    brand_id text NOT NULL,
    after text NOT NULL,
    PRIMARY KEY (tenant_id, brand_id)
);
"""

GRANTS = """
GRANT SELECT, INSERT ON checkouts, carts, stock_holds, orders, paused_calls, purchase_cursors TO mcp_server_app;
GRANT UPDATE (cart_sha256, purchase_state, changed_at) ON checkouts TO mcp_server_app;
GRANT UPDATE (quantity, held_until) ON stock_holds TO mcp_server_app;
GRANT DELETE ON stock_holds, paused_calls TO mcp_server_app;
GRANT UPDATE (resumed_at) ON paused_calls TO mcp_server_app;
GRANT UPDATE (after) ON purchase_cursors TO mcp_server_app;
"""

TENANT_TABLES = ("checkouts", "carts", "stock_holds", "orders", "paused_calls", "purchase_cursors")


def upgrade() -> None:
    run_script(TABLES + GRANTS)
    for table in TENANT_TABLES:
        wall_by_tenant(table)
