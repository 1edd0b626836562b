"""Captures by telephone: no browser may ever enter one, and none other than the keypad's card is taken for it.

`by_phone` of a charge is written with the intention and never changed: no role may update it.
"""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE captures ADD COLUMN channel text NOT NULL DEFAULT 'page' CHECK (channel IN ('page', 'phone')),
    ADD CHECK (channel = 'page' OR (browser_hash IS NULL AND replaces_card_of IS NULL));
ALTER TABLE charges ADD COLUMN by_phone boolean NOT NULL DEFAULT false;
"""

ENTER_CAPTURE = """
CREATE OR REPLACE FUNCTION enter_capture(tenant text, capture text, brand text, subject text, browser bytea)
    RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    UPDATE captures c SET browser_hash = browser WHERE c.tenant_id = tenant AND c.capture_id = capture
        AND c.brand_id = brand AND c.subject_id = subject AND c.channel = 'page';
    RETURN FOUND;
END $$
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
    IF held.capture_id IS NULL OR held.browser_hash IS DISTINCT FROM browser
            OR (browser IS NULL) <> (held.channel = 'phone') THEN
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
"""As migration `card_updates` made it. A capture on a page is its browser's; one by phone has no browser, and its card
comes with a grant of its own."""


def upgrade() -> None:
    run_script(COLUMNS)
    op.execute(ENTER_CAPTURE)
    op.execute(TAKE_CARD)
