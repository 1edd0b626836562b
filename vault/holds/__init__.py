"""Held money: ordered as a hold, ended by one settlement, one void, or by time."""
