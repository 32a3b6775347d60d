"""What looks at a running proxy and tells about it: snapshot, metrics, health, status page, control API."""
