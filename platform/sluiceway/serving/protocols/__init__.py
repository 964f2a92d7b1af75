"""The bodies that an endpoint understands: each module reads one protocol's requests and writes its answers."""
