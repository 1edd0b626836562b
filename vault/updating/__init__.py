"""Stored cards are kept up to date without a person: asked about at a card updater, and replaced under their token."""
