"""The append-only record: entries, their places in the tree, the tree's stored nodes, signed checkpoints.

Nobody at run time may change or remove a row of these four tables: the application's role reads and inserts. What the
owner of the database does is found by `verify`.
"""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# `transaction_id` is filled by PostgreSQL and tells the sealer which entries may still be joined by ones that commit
# late. `record_leaves` has no foreign key to the entries: checking one would write to every entry it points to.
TABLES = """
CREATE TABLE record_entries (
    tenant_id text NOT NULL,
    entry_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    decision_id text NOT NULL,
    canonical bytea NOT NULL,
    leaf_sha256 bytea NOT NULL CHECK (length(leaf_sha256) = 32),
    recorded_at timestamptz NOT NULL,
    transaction_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    PRIMARY KEY (tenant_id, entry_id),
    UNIQUE (tenant_id, decision_id)
);
CREATE INDEX record_entries_by_transaction ON record_entries (tenant_id, transaction_id, entry_id);
CREATE TABLE record_leaves (
    tenant_id text NOT NULL,
    tree_index bigint NOT NULL CHECK (tree_index >= 0),
    entry_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, tree_index),
    UNIQUE (tenant_id, entry_id)
);
CREATE TABLE record_nodes (
    tenant_id text NOT NULL,
    level smallint NOT NULL CHECK (level > 0),
    position bigint NOT NULL CHECK (position >= 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (tenant_id, level, position)
);
CREATE TABLE record_checkpoints (
    tenant_id text NOT NULL,
    tree_size bigint NOT NULL CHECK (tree_size > 0),
    root_sha256 bytea NOT NULL CHECK (length(root_sha256) = 32),
    right_edge bytea[] NOT NULL,
    settled_below bigint NOT NULL,
    note text NOT NULL,
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, tree_size)
);
"""

WALLED = ("record_entries", "record_leaves", "record_nodes", "record_checkpoints")

GRANTS = """
GRANT SELECT, INSERT (tenant_id, decision_id, canonical, leaf_sha256, recorded_at) ON record_entries TO gateway_app;
GRANT SELECT, INSERT ON record_leaves, record_nodes, record_checkpoints TO gateway_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in WALLED:
        wall_by_tenant(table)
    run_script(GRANTS)
