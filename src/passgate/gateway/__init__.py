"""The hot path: one pipeline that serves an exchange through the seams in ``interfaces``."""
