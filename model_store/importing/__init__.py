"""Turns weights from outside into a validated version of the store."""
