"""Acts of one statement: one transaction and one round trip each, where BEGIN, the tenant and COMMIT were three more.

Each function tells the transaction its tenant before it looks at a row. They run with the caller's own rights and under
row-level security, as if the caller had sent the statements one by one; nothing is allowed here that was not before.
The tenant goes with the transaction, which is the call itself.
"""

from alembic import op

from infra.chassis.migrate import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ACT_FOR = """
CREATE FUNCTION act_for(tenant text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('undercroft.tenant', true), '') NOT IN ('', tenant) THEN
        RAISE EXCEPTION 'this transaction is another tenant''s' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM set_config('undercroft.tenant', tenant, true);
END $$
"""
"""Meant for a call that is its own transaction; inside another tenant's it would change whose that is."""

REDEEM_GRANT = """
CREATE FUNCTION redeem_grant(tenant text, by_issuer text, grant_jti text, by_sender text, proof text,
    expiry timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    INSERT INTO redeemed_grants (tenant_id, issuer, jti, sender, proof_jti, expires_at)
        VALUES (tenant, by_issuer, grant_jti, by_sender, proof, expiry);
END $$
"""

CAPTURE_OF = """
CREATE FUNCTION capture_of(tenant text, capture text) RETURNS SETOF captures LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_for(tenant);
    RETURN QUERY SELECT * FROM captures c WHERE c.tenant_id = tenant AND c.capture_id = capture;
END $$
"""

TELL_EVENT = """
CREATE FUNCTION tell_event(tenant text, own_id text, of_kind text, about_id text, words text, moment timestamptz)
    RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH added AS (
        INSERT INTO outbox_events (tenant_id, event_id, kind, about, payload, happened_at)
        VALUES (tenant, own_id, of_kind, about_id, words, moment)
        RETURNING tenant_id, event_id, about, position)
    INSERT INTO dispatches (tenant_id, event_id, endpoint_id, about, position, state, owed_since, next_at)
    SELECT added.tenant_id, added.event_id, e.endpoint_id, added.about, added.position, 'waiting', moment, moment
    FROM added JOIN webhook_endpoints e ON e.tenant_id = added.tenant_id
    WHERE e.state = 'enabled' AND (e.kinds = '{}' OR of_kind = ANY(e.kinds));
END $$
"""
"""Who is told is settled with the event: an endpoint registered later is not owed what happened before. Within the
transaction of what happened, which has its tenant already."""

TAKE_CARD = """
CREATE FUNCTION take_card(tenant text, capture text, browser bytea, attempts_max integer, moment timestamptz, card text,
    event text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    held captures;
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
    INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version, wrapped_key,
            sealed_number, sealed_details, sealed_fingerprint, good_through, card_brand, last4, created_at)
        SELECT tenant, r.token_id, held.brand_id, held.subject_id, r.fingerprint, r.fingerprint_version, r.wrapped_key,
            r.sealed_number, r.sealed_details, r.sealed_fingerprint, r.good_through, r.card_brand, r.last4, r.created_at
        FROM json_populate_record(NULL::cards, card::json) r;
    PERFORM tell_event(tenant, e.event_id, e.kind, e.about, e.payload, e.happened_at)
        FROM json_populate_record(NULL::outbox_events, event::json) e;
    UPDATE captures c SET attempts = attempts + 1, token_id = card::json ->> 'token_id'
        WHERE c.tenant_id = tenant AND c.capture_id = capture;
    RETURN 'taken';
END $$
"""
"""Card and event come in as JSON under the names of their columns, so that a further column is no further argument.

Of posts at the same moment the row's lock lets one through; the others find it completed. Whose card it is, the locked
capture says.
"""

RIGHTS = """
REVOKE ALL ON FUNCTION act_for, redeem_grant, capture_of, tell_event, take_card FROM PUBLIC;
GRANT EXECUTE ON FUNCTION act_for, redeem_grant, capture_of, tell_event, take_card TO vault_app;
"""


def upgrade() -> None:
    for function in (ACT_FOR, REDEEM_GRANT, CAPTURE_OF, TELL_EVENT, TAKE_CARD):
        op.execute(function)
    run_script(RIGHTS)
