"""The real gateway before a simulated upstream, on loopback."""
