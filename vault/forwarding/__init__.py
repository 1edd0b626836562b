"""Sending a stored card to a registered destination: who may, once, and what is written down. No digits here."""
