"""Tickets on their way to gateways: rules of when to pay, what answers mean, and the source that the client asks."""
