"""Tests of the translation, without a network."""
