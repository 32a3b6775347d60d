"""Ways into the mixnet: identities, what keeps them apart, their sleep, and streams over them."""
