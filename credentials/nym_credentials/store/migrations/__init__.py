"""Migrations of the ticket store's schema: run at every opening, and once for each store."""
