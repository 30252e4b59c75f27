"""Pure rules: bytes and values in, bytes and values out; nothing here waits or reads a clock."""
