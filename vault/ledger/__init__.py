"""Double-entry, append-only: what every outcome means in money, written in the outcome's own transaction."""
