"""The append-only record: entries, the tree over them, what is signed, and how anybody checks it."""
