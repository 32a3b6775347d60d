"""What others could join from how an instance is used: `nymgate privacy`."""
