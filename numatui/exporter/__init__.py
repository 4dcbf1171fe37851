"""Metrics for Prometheus (`numatui exporter`); needs the extra `numatui[exporter]`."""
