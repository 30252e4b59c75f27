"""What every implementation of a seam must pass."""
