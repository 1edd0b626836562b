"""The rows of a purchase that waits for a card, for tests that start at the door."""

A_QUOTE = (
    "INSERT INTO quotes (tenant_id, checkout_id, brand_id, client_id, cart_sha256, amount_minor, currency,"
    " description, quoted_at, expires_at) VALUES (:t, :checkout_id, :b, 'mcp_x', 'c', 7998, 'USD', 'd', :now, :now)"
)
A_PURCHASE = (
    "INSERT INTO purchases (tenant_id, purchase_id, checkout_id, brand_id, subject_id, conversation_id, client_id,"
    " cart_sha256, amount_minor, currency, state, decision_id, reservation_id, created_at) VALUES (:t, :purchase_id,"
    " :checkout_id, :b, :s, 'cnv_x', 'ast_x', 'c', 7998, 'USD', 'needs_card', 'dec_x', 'res_x', :now)"
)
A_CAPTURE = (
    "INSERT INTO captures (tenant_id, capture_id, purchase_id, brand_id, subject_id, amount_minor, currency, state,"
    " created_at) VALUES (:t, :capture_id, :purchase_id, :b, :s, 7998, 'USD', :state, :now)"
)
A_CAPTURE_DIRECTORY = "INSERT INTO capture_directory (capture_id, tenant_id) VALUES (:capture_id, :t)"
