"""Adapters: one outside thing per file, the only place its library is imported."""
