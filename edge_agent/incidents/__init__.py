"""Tracks become incidents: zones and the rules that fire in them."""
