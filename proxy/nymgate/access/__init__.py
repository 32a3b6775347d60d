"""Who may use the proxy, where to, and when it is their turn."""
