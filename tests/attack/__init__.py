"""Attacks and faults: the same raw bytes against passgate and any other gateway."""
