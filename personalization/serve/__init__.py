"""The web server: webhooks in, pages for people out. Start it with `personalization serve`."""
