"""Where applications connect: sockets, the protocols they speak, and what is asked of an upstream."""
