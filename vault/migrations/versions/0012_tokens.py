"""The terms of tokens, one live charge of a token for one charge; fingerprints of several versions; canaries' uses.

No column of a card's terms may be changed by the service: they are written with the card, which is sealed with them.
Which tokens are canaries stands in no table.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TERMS = """
ALTER TABLE captures ADD COLUMN terms text;
ALTER TABLE cards ADD COLUMN terms text;
ALTER TABLE charges ADD COLUMN single_use boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX one_charge_a_single_use ON charges (tenant_id, token_id)
    WHERE single_use AND state IN ('intended', 'unknown', 'approved', 'held', 'settled');
"""

FINGERPRINTS = """
ALTER TABLE cards ADD COLUMN earlier_token_id text;
DROP INDEX cards_by_fingerprint;
CREATE INDEX cards_of_subject ON cards (tenant_id, subject_id, fingerprint);
GRANT UPDATE (fingerprint_version) ON cards TO vault_app;
"""

CANARIES = """
CREATE TABLE canary_uses (
    tenant_id text NOT NULL REFERENCES tenants,
    use_id text NOT NULL,
    token_id text NOT NULL,
    act text NOT NULL,
    reference text NOT NULL,
    brand_id text NOT NULL,
    subject_id text NOT NULL,
    agent_id text NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, use_id)
);
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
    ELSIF held.attempts >= attempts_max OR held.expires_at <= moment THEN
        RETURN 'gone';
    END IF;
    known_as = ARRAY(SELECT one::bytea FROM json_array_elements_text(card::json -> 'known_as') one);
    INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version, wrapped_key,
            sealed_number, sealed_details, sealed_fingerprint, good_through, card_brand, last4, terms, created_at,
            earlier_token_id)
        SELECT tenant, r.token_id, held.brand_id, held.subject_id, r.fingerprint, r.fingerprint_version, r.wrapped_key,
            r.sealed_number, r.sealed_details, r.sealed_fingerprint, r.good_through, r.card_brand, r.last4, r.terms,
            r.created_at, (SELECT o.token_id FROM cards o
                WHERE o.tenant_id = tenant AND o.subject_id = held.subject_id AND o.brand_id = held.brand_id
                    AND o.fingerprint = ANY(known_as) AND o.shredded_at IS NULL
                ORDER BY o.created_at, o.token_id LIMIT 1)
        FROM json_populate_record(NULL::cards, card::json) r;
    PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
        FROM json_populate_record(NULL::outbox_events, event::json) e;
    UPDATE captures c SET attempts = attempts + 1, token_id = card::json ->> 'token_id'
        WHERE c.tenant_id = tenant AND c.capture_id = capture;
    RETURN 'taken';
END $$
"""
"""As migration `at_once` made it, with the card's terms and with the first token of the same card of the same person.
Whose card it is, the locked capture says; terms that were sealed for somebody else leave a card that does not open."""


def upgrade() -> None:
    run_script(TERMS)
    run_script(FINGERPRINTS)
    run_script(CANARIES)
    wall_by_tenant("canary_uses")
    run_script("GRANT SELECT, INSERT ON canary_uses TO vault_app;")
    op.execute(TAKE_CARD)
