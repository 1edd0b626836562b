"""Cards kept up to date by a card updater: which tenants want it, what was asked, cards whose issuer closed them.

`swap_card` is what `replace_card` of migration 0014 did with the card itself, for both who may put another card under a
token: a person on a page, and the updater. A person's card has to prove itself with its code; the updater's is the same
account's, for which the networks say so, and stays on file.
"""

from alembic import op

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE card_updating (
    tenant_id text PRIMARY KEY REFERENCES tenants,
    turned_on_by text NOT NULL,
    turned_on_at timestamptz NOT NULL
);
CREATE TABLE card_inquiries (
    tenant_id text NOT NULL REFERENCES tenants,
    token_id text NOT NULL,
    month date NOT NULL CHECK (month = date_trunc('month', month)),
    cause text NOT NULL CHECK (cause IN ('expiring', 'declined')),
    asked_at timestamptz NOT NULL,
    tries integer NOT NULL CHECK (tries >= 0),
    again_at timestamptz NOT NULL,
    outcome text CHECK (outcome IN ('updated', 'closed', 'up_to_date', 'opted_out', 'not_participating', 'not_known',
        'not_taken', 'withheld', 'implausible', 'overtaken', 'unreadable')),
    answered_at timestamptz,
    PRIMARY KEY (tenant_id, token_id, month),
    FOREIGN KEY (tenant_id, token_id) REFERENCES cards (tenant_id, token_id),
    CHECK ((outcome IS NULL) = (answered_at IS NULL))
);
CREATE INDEX card_inquiries_by_time ON card_inquiries (tenant_id, asked_at);
ALTER TABLE cards ADD COLUMN closed_at timestamptz;
CREATE INDEX cards_on_file_by_month ON cards (tenant_id, good_through)
    WHERE shredded_at IS NULL AND closed_at IS NULL AND on_file_since IS NOT NULL;
CREATE INDEX charges_declined_for_the_card ON charges (tenant_id, updated_at)
    WHERE state = 'declined' AND reason IN ('expired_card', 'lost_or_stolen');
"""
"""The primary key of `card_inquiries` is what holds a card to one inquiry a calendar month."""

REPLACED_WHOLE = """
CREATE OR REPLACE FUNCTION replace_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation <> OLD.generation + 1 OR NEW.terms IS DISTINCT FROM OLD.terms
            OR (NEW.on_file_since IS NOT NULL AND NEW.on_file_since IS DISTINCT FROM OLD.on_file_since)
            OR OLD.shredded_at IS NOT NULL OR NEW.shredded_at IS NOT NULL OR NEW.wrapped_key = OLD.wrapped_key
            OR NEW.sealed_number = OLD.sealed_number OR NEW.sealed_details = OLD.sealed_details THEN
        RAISE EXCEPTION 'a card is replaced as a whole' USING ERRCODE = 'check_violation';
    END IF;
    NEW.closed_at = NULL;
    RETURN NEW;
END $$
"""
"""As migration 0014 made it; a card that was on file may stay so, and another card is not closed."""

SWAP_CARD = """
CREATE FUNCTION swap_card(tenant text, brand text, subject text, stays_on_file boolean, whom text, moment timestamptz,
    card text, event text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known_as bytea[];
    through integer;
BEGIN
    known_as = ARRAY(SELECT one::bytea FROM json_array_elements_text(card::json -> 'known_as') one);
    PERFORM 1 FROM tenant_keys k WHERE k.tenant_id = tenant FOR KEY SHARE;
    SELECT max(k.version) INTO through FROM tenant_keys k WHERE k.tenant_id = tenant;
    UPDATE cards c SET fingerprint = r.fingerprint, fingerprint_version = r.fingerprint_version,
            wrapped_key = r.wrapped_key, sealed_number = r.sealed_number, sealed_details = r.sealed_details,
            sealed_fingerprint = r.sealed_fingerprint, good_through = r.good_through, card_brand = r.card_brand,
            last4 = r.last4, generation = r.generation,
            on_file_since = CASE WHEN stays_on_file THEN c.on_file_since END,
            (earlier_token_id, earlier_generation) = (SELECT o.token_id, o.generation FROM cards o
                WHERE o.tenant_id = tenant AND o.subject_id = subject AND o.brand_id = brand
                    AND o.fingerprint = ANY(known_as) AND o.shredded_at IS NULL AND o.token_id <> r.token_id
                ORDER BY o.created_at, o.token_id LIMIT 1)
        FROM json_populate_record(NULL::cards, card::json) r
        WHERE c.tenant_id = tenant AND c.token_id = r.token_id
            AND c.brand_id = brand AND c.subject_id = subject AND c.shredded_at IS NULL
            AND c.generation = r.generation - 1 AND c.terms IS NOT DISTINCT FROM r.terms
            AND NOT EXISTS (SELECT 1 FROM tenant_keys k
                WHERE k.tenant_id = tenant AND k.version = c.key_version AND k.state = 'destroyed');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO shreddings (tenant_id, shredding_id, token_id, cause, ordered_by, ordered_at, through_version)
        VALUES (tenant, card::json ->> 'shredding_id', card::json ->> 'token_id', 'replaced', whom, moment, through);
    PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
        FROM json_populate_record(NULL::outbox_events, event::json) e;
    RETURN true;
END $$
"""
"""The card that was is shredded with it: its keys are overwritten at once, and a shredding stands for the next round.

Against a re-sealing of the same row, whichever is second finds what the first left: a move asks for the wrapped key it
read, this one for the generation. Of two replacements of one generation the second finds it gone. A tenant that is
shredded meanwhile has destroyed the key the row is under, and nothing is revived there.
"""

REPLACE_CARD = """
CREATE OR REPLACE FUNCTION replace_card(tenant text, capture text, browser bytea, attempts_max integer,
    moment timestamptz, card text, event text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    held captures;
BEGIN
    PERFORM act_for(tenant);
    SELECT * INTO held FROM captures c WHERE c.tenant_id = tenant AND c.capture_id = capture FOR NO KEY UPDATE;
    IF held.browser_hash IS NULL OR held.browser_hash <> browser THEN
        RETURN 'gone';
    ELSIF held.token_id IS NOT NULL THEN
        RETURN 'completed';
    ELSIF held.attempts >= attempts_max OR held.expires_at <= moment OR held.replaces_card_of IS NULL THEN
        RETURN 'gone';
    ELSIF held.replaces_card_of IS DISTINCT FROM card::json ->> 'token_id'
            OR held.replaces_generation + 1 IS DISTINCT FROM (card::json ->> 'generation')::integer THEN
        RETURN 'overtaken';
    END IF;
    IF NOT swap_card(tenant, held.brand_id, held.subject_id, false, 'capture ' || capture, moment, card, event) THEN
        RETURN 'overtaken';
    END IF;
    UPDATE captures c SET attempts = attempts + 1, token_id = held.replaces_card_of
        WHERE c.tenant_id = tenant AND c.capture_id = capture;
    RETURN 'taken';
END $$
"""

UPDATE_CARD = """
CREATE FUNCTION update_card(tenant text, brand text, subject text, asked_in date, moment timestamptz, card text,
    event text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    UPDATE card_inquiries i SET outcome = 'updated', answered_at = moment
        WHERE i.tenant_id = tenant AND i.token_id = card::json ->> 'token_id' AND i.month = asked_in
            AND i.outcome IS NULL;
    IF NOT FOUND THEN
        RETURN 'overtaken';
    END IF;
    IF NOT swap_card(tenant, brand, subject, true, 'card updater', moment, card, event) THEN
        UPDATE card_inquiries i SET outcome = 'overtaken'
            WHERE i.tenant_id = tenant AND i.token_id = card::json ->> 'token_id' AND i.month = asked_in;
        RETURN 'overtaken';
    END IF;
    RETURN 'taken';
END $$
"""
"""Only for an inquiry that is open: an answer changes a card once."""

RIGHTS = """
GRANT SELECT, INSERT, DELETE ON card_updating TO vault_app;
GRANT SELECT, INSERT, UPDATE (tries, asked_at, again_at, outcome, answered_at) ON card_inquiries TO vault_app;
GRANT UPDATE (closed_at) ON cards TO vault_app;
REVOKE ALL ON FUNCTION swap_card, update_card FROM PUBLIC;
GRANT EXECUTE ON FUNCTION swap_card, update_card TO vault_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    for table in ("card_updating", "card_inquiries"):
        wall_by_tenant(table)
    for function in (REPLACED_WHOLE, SWAP_CARD, REPLACE_CARD, UPDATE_CARD):
        op.execute(function)
    run_script(RIGHTS)
