"""Cards from another vault: keys files are sealed to, files, and what became of each of their lines.

A line has one outcome, for ever: the primary key is tenant, file and line. What another vault called a card stands
nowhere here.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE import_keys (
    tenant_id text NOT NULL REFERENCES tenants,
    key_id text NOT NULL,
    document text NOT NULL,
    sealed_seed bytea NOT NULL CHECK (octet_length(sealed_seed) > 4),
    good_until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key_id)
);

CREATE TABLE card_imports (
    tenant_id text NOT NULL REFERENCES tenants,
    batch_id text NOT NULL,
    brand_id text NOT NULL,
    file_digest bytea NOT NULL CHECK (octet_length(file_digest) = 32),
    begun_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, batch_id)
);

CREATE TABLE card_import_lines (
    tenant_id text NOT NULL,
    batch_id text NOT NULL,
    line integer NOT NULL CHECK (line > 0),
    token_id text,
    was_there boolean NOT NULL DEFAULT false,
    reasons text CHECK (reasons ~ '^[a-z0-9_]+(,[a-z0-9_]+)*$'),
    PRIMARY KEY (tenant_id, batch_id, line),
    CHECK (num_nonnulls(token_id, reasons) = 1),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES card_imports (tenant_id, batch_id),
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id)
);
"""

IMPORT_CARDS = """
CREATE FUNCTION import_cards(tenant text, batch text, given text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one json;
    new_card cards;
    known_as bytea[];
    same text;
BEGIN
    PERFORM act_for(tenant);
    FOR one IN SELECT json_array_elements(given::json) LOOP
        CONTINUE WHEN EXISTS (SELECT 1 FROM card_import_lines l
            WHERE l.tenant_id = tenant AND l.batch_id = batch AND l.line = (one ->> 'line')::integer);
        same = NULL;
        IF one ->> 'reasons' IS NULL THEN
            new_card = json_populate_record(NULL::cards, one -> 'card');
            known_as = ARRAY(SELECT k::bytea FROM json_array_elements_text(one -> 'card' -> 'known_as') k);
            SELECT o.token_id INTO same FROM cards o
                WHERE o.tenant_id = tenant AND o.subject_id = new_card.subject_id AND o.brand_id = new_card.brand_id
                    AND o.fingerprint = ANY(known_as) AND o.good_through = new_card.good_through
                    AND o.terms = new_card.terms AND o.on_file_since IS NOT NULL AND o.shredded_at IS NULL
                ORDER BY o.created_at, o.token_id LIMIT 1;
            IF same IS NULL THEN
                INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version,
                        wrapped_key, sealed_number, sealed_details, sealed_fingerprint, good_through, card_brand, last4,
                        terms, created_at, on_file_since, earlier_token_id, earlier_generation)
                    SELECT tenant, r.token_id, r.brand_id, r.subject_id, r.fingerprint, r.fingerprint_version,
                        r.wrapped_key, r.sealed_number, r.sealed_details, r.sealed_fingerprint, r.good_through,
                        r.card_brand, r.last4, r.terms, r.created_at, r.created_at, e.token_id, e.generation
                    FROM (SELECT (new_card).*) r LEFT JOIN LATERAL (SELECT o.token_id, o.generation FROM cards o
                        WHERE o.tenant_id = tenant AND o.subject_id = r.subject_id AND o.brand_id = r.brand_id
                            AND o.fingerprint = ANY(known_as) AND o.shredded_at IS NULL
                        ORDER BY o.created_at, o.token_id LIMIT 1) e ON true;
                PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
                    FROM json_populate_record(NULL::outbox_events, one -> 'event') e;
            END IF;
        END IF;
        INSERT INTO card_import_lines (tenant_id, batch_id, line, token_id, was_there, reasons)
            VALUES (tenant, batch, (one ->> 'line')::integer,
                CASE WHEN one ->> 'reasons' IS NULL THEN coalesce(same, new_card.token_id) END, same IS NOT NULL,
                one ->> 'reasons');
    END LOOP;
END $$
"""
"""A card that is on file already, of the same subject and brand, with the same number, month and terms, is not stored
again: the line gets its token. Otherwise it is stored as `take_card` does, on file from now on, because its code was
asked for elsewhere. Whose it is the operator's file says, not a capture."""

RIGHTS = """
REVOKE ALL ON FUNCTION import_cards FROM PUBLIC;
GRANT EXECUTE ON FUNCTION import_cards TO vault_app;
GRANT SELECT, INSERT, DELETE, UPDATE (sealed_seed) ON import_keys TO vault_app;
GRANT SELECT, INSERT, UPDATE (finished_at) ON card_imports TO vault_app;
GRANT SELECT, INSERT ON card_import_lines TO vault_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in ("import_keys", "card_imports", "card_import_lines"):
        wall_by_tenant(table)
    op.execute(IMPORT_CARDS)
    run_script(RIGHTS)
