"""Names the product does not use itself, and why they are there. A file of its own: the count must not count it."""

USED_BY_OTHERS = {
    "FixedClock": "the tests' clock, beside the real one so that both keep one contract",
    "advance": "of the tests' clock",
    "root_by_path": "the checking half of an inclusion proof, for whoever is shown one; tests hold ours to it",
    "begins_with": "the checking half of a consistency proof, likewise",
    "seal_form": "the browser's half of sealing, in Python, by which tests post sealed forms",
    "screenshot": "of the browser driver, whose other callers are tests",
    "plug_in_authenticator": "of the browser driver, likewise",
    "confirm_with_bank": "of the demo's person, whose card has a bank that asks in tests only",
    "verify_person": "of the browser driver, likewise",
    "get_redirect_uri": "Authlib calls it",
    "get_scope": "Authlib calls it",
    "check_client": "Authlib calls it",
    "get_tokens": "the MCP SDK's TokenStorage",
    "set_tokens": "the MCP SDK's TokenStorage",
    "get_client_info": "the MCP SDK's TokenStorage",
    "set_client_info": "the MCP SDK's TokenStorage",
}
