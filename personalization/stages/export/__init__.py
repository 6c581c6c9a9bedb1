"""From decisions to the platforms: plan the difference, cut last, send, account for every row."""
