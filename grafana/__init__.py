"""Dashboards, alerts and recording rules as code. `make dashboards` writes what Grafana and Prometheus read."""
