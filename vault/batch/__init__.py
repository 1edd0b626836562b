"""Coming from another vault and leaving for one, as an operator does it: keys, rows, approvals and commands.

What has to do with cards in clear is in `vault/cleartext/batch`. Nothing here is a route, and no grant reaches it.
"""
