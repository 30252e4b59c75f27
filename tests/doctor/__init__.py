"""The doctor, and gateways for it to look at."""
