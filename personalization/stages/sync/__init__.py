"""Sources to the landing zone (dlt), identifiers to the vault, tokens in their place."""
