"""Speaking with the signers of ticketbooks over HTTP (docs/protocol/09)."""
