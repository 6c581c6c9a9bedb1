"""One adapter a platform: its limits, its shapes, how its errors read. The exporter's rules are the same for all."""
