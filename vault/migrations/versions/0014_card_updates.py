"""Another card under the same token: generations of a card, captures that replace one, charges that say with which.

A generation is a whole card: number, details, keys, brand and last four change together and by one generation. What the
trigger holds whoever has the app role to: generation, brand and last four change by one generation and with all the
others, or not at all. It does not look at what is sealed where those three stay: a card is moved to another key, and
emptied, with the same role. Terms never change.
"""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CARDS = """
ALTER TABLE cards NO FORCE ROW LEVEL SECURITY;
ALTER TABLE cards ADD COLUMN generation integer NOT NULL DEFAULT 1 CHECK (generation > 0);
ALTER TABLE cards ADD COLUMN earlier_generation integer;
UPDATE cards SET earlier_generation = 1 WHERE earlier_token_id IS NOT NULL;
ALTER TABLE cards ADD CHECK ((earlier_token_id IS NULL) = (earlier_generation IS NULL));
GRANT UPDATE (generation, card_brand, last4, earlier_token_id, earlier_generation) ON cards TO vault_app;
"""
"""`earlier_generation`: of the earlier token, which held the same card then. With another card it is no answer."""

CAPTURES = """
ALTER TABLE captures ADD COLUMN replaces_card_of text;
ALTER TABLE captures ADD COLUMN replaces_generation integer;
ALTER TABLE captures ADD COLUMN replaces_brand text;
ALTER TABLE captures ADD COLUMN replaces_last4 text;
ALTER TABLE captures ADD CHECK
    (num_nulls(replaces_card_of, replaces_generation, replaces_brand, replaces_last4) IN (0, 4));
ALTER TABLE captures ADD CHECK (replaces_card_of IS NULL OR (terms IS NULL AND coalesce(token_id, replaces_card_of)
    = replaces_card_of));
ALTER TABLE captures ADD FOREIGN KEY (tenant_id, replaces_card_of) REFERENCES cards (tenant_id, token_id);
ALTER TABLE shreddings DROP CONSTRAINT shreddings_cause_check;
ALTER TABLE shreddings ADD CONSTRAINT shreddings_cause_check CHECK (cause IN ('ordered', 'expired', 'replaced'));
"""
"""What is replaced is the generation that was there when it was ordered, and the page shows that one."""

CHARGES = """
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
ALTER TABLE charges ADD COLUMN card_generation integer NOT NULL DEFAULT 1;
ALTER TABLE charges ADD COLUMN card_brand text;
ALTER TABLE charges ADD COLUMN last4 text;
UPDATE charges h SET card_brand = c.card_brand, last4 = c.last4
    FROM cards c WHERE c.tenant_id = h.tenant_id AND c.token_id = h.token_id;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
ALTER TABLE cards FORCE ROW LEVEL SECURITY;
"""
"""With which card a charge was begun; it stays that one's."""

REPLACED_WHOLE = """
CREATE FUNCTION replace_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation <> OLD.generation + 1 OR NEW.on_file_since IS NOT NULL OR NEW.terms IS DISTINCT FROM OLD.terms
            OR OLD.shredded_at IS NOT NULL OR NEW.shredded_at IS NOT NULL OR NEW.wrapped_key = OLD.wrapped_key
            OR NEW.sealed_number = OLD.sealed_number OR NEW.sealed_details = OLD.sealed_details THEN
        RAISE EXCEPTION 'a card is replaced as a whole' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

TRIGGERS = """
CREATE TRIGGER replaced_whole BEFORE UPDATE OF generation, card_brand, last4 ON cards
    FOR EACH ROW EXECUTE FUNCTION replace_whole();
"""

TAKE_CARD = """
CREATE OR REPLACE FUNCTION take_card(tenant text, capture text, browser bytea, attempts_max integer, moment timestamptz,
    card text, event text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    held captures;
    known_as bytea[];
BEGIN
    PERFORM act_for(tenant);
    SELECT * INTO held FROM captures c WHERE c.tenant_id = tenant AND c.capture_id = capture FOR NO KEY UPDATE;
    IF held.browser_hash IS NULL OR held.browser_hash <> browser THEN
        RETURN 'gone';
    ELSIF held.token_id IS NOT NULL THEN
        RETURN 'completed';
    ELSIF held.attempts >= attempts_max OR held.expires_at <= moment OR held.replaces_card_of IS NOT NULL THEN
        RETURN 'gone';
    END IF;
    known_as = ARRAY(SELECT one::bytea FROM json_array_elements_text(card::json -> 'known_as') one);
    INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version, wrapped_key,
            sealed_number, sealed_details, sealed_fingerprint, good_through, card_brand, last4, terms, created_at,
            earlier_token_id, earlier_generation)
        SELECT tenant, r.token_id, held.brand_id, held.subject_id, r.fingerprint, r.fingerprint_version, r.wrapped_key,
            r.sealed_number, r.sealed_details, r.sealed_fingerprint, r.good_through, r.card_brand, r.last4, r.terms,
            r.created_at, e.token_id, e.generation
        FROM json_populate_record(NULL::cards, card::json) r LEFT JOIN LATERAL (
            SELECT o.token_id, o.generation FROM cards o
                WHERE o.tenant_id = tenant AND o.subject_id = held.subject_id AND o.brand_id = held.brand_id
                    AND o.fingerprint = ANY(known_as) AND o.shredded_at IS NULL
                ORDER BY o.created_at, o.token_id LIMIT 1) e ON true;
    PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
        FROM json_populate_record(NULL::outbox_events, event::json) e;
    UPDATE captures c SET attempts = attempts + 1, token_id = card::json ->> 'token_id'
        WHERE c.tenant_id = tenant AND c.capture_id = capture;
    RETURN 'taken';
END $$
"""
"""As migration `tokens` made it, with the generation of the earlier token. A capture that replaces a card makes none.
"""

REPLACE_CARD = """
CREATE FUNCTION replace_card(tenant text, capture text, browser bytea, attempts_max integer, moment timestamptz,
    card text, event text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    held captures;
    known_as bytea[];
    through integer;
BEGIN
    PERFORM act_for(tenant);
    SELECT * INTO held FROM captures c WHERE c.tenant_id = tenant AND c.capture_id = capture FOR NO KEY UPDATE;
    IF held.browser_hash IS NULL OR held.browser_hash <> browser THEN
        RETURN 'gone';
    ELSIF held.token_id IS NOT NULL THEN
        RETURN 'completed';
    ELSIF held.attempts >= attempts_max OR held.expires_at <= moment OR held.replaces_card_of IS NULL THEN
        RETURN 'gone';
    END IF;
    known_as = ARRAY(SELECT one::bytea FROM json_array_elements_text(card::json -> 'known_as') one);
    PERFORM 1 FROM tenant_keys k WHERE k.tenant_id = tenant FOR KEY SHARE;
    SELECT max(k.version) INTO through FROM tenant_keys k WHERE k.tenant_id = tenant;
    UPDATE cards c SET fingerprint = r.fingerprint, fingerprint_version = r.fingerprint_version,
            wrapped_key = r.wrapped_key, sealed_number = r.sealed_number, sealed_details = r.sealed_details,
            sealed_fingerprint = r.sealed_fingerprint, good_through = r.good_through, card_brand = r.card_brand,
            last4 = r.last4, generation = r.generation, on_file_since = NULL,
            (earlier_token_id, earlier_generation) = (SELECT o.token_id, o.generation FROM cards o
                WHERE o.tenant_id = tenant AND o.subject_id = held.subject_id AND o.brand_id = held.brand_id
                    AND o.fingerprint = ANY(known_as) AND o.shredded_at IS NULL AND o.token_id <> r.token_id
                ORDER BY o.created_at, o.token_id LIMIT 1)
        FROM json_populate_record(NULL::cards, card::json) r
        WHERE c.tenant_id = tenant AND c.token_id = held.replaces_card_of AND c.token_id = r.token_id
            AND c.brand_id = held.brand_id AND c.subject_id = held.subject_id AND c.shredded_at IS NULL
            AND c.generation = held.replaces_generation AND r.generation = c.generation + 1
            AND c.terms IS NOT DISTINCT FROM r.terms
            AND NOT EXISTS (SELECT 1 FROM tenant_keys k
                WHERE k.tenant_id = tenant AND k.version = c.key_version AND k.state = 'destroyed');
    IF NOT FOUND THEN
        RETURN 'overtaken';
    END IF;
    INSERT INTO shreddings (tenant_id, shredding_id, token_id, cause, ordered_by, ordered_at, through_version)
        VALUES (tenant, card::json ->> 'shredding_id', held.replaces_card_of, 'replaced', 'capture ' || capture, moment,
            through);
    PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
        FROM json_populate_record(NULL::outbox_events, event::json) e;
    UPDATE captures c SET attempts = attempts + 1, token_id = held.replaces_card_of
        WHERE c.tenant_id = tenant AND c.capture_id = capture;
    RETURN 'taken';
END $$
"""
"""The card that was is shredded with it: its keys are overwritten at once, and a shredding stands for the next round.

Against a re-sealing of the same row, whichever is second finds what the first left: a move asks for the wrapped key it
read, this one for the generation. Of two replacements of one generation the second finds it gone. A tenant that is
shredded meanwhile has destroyed the key the row is under, and nothing is revived there.
"""

RIGHTS = """
REVOKE ALL ON FUNCTION replace_card FROM PUBLIC;
GRANT EXECUTE ON FUNCTION replace_card TO vault_app;
"""


def upgrade() -> None:
    run_script(CARDS)
    run_script(CAPTURES)
    run_script(CHARGES)
    for function in (REPLACED_WHOLE, TAKE_CARD, REPLACE_CARD):
        op.execute(function)
    run_script(TRIGGERS)
    run_script(RIGHTS)
