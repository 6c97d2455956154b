"""One program per peer; each is run as a module by ``bench.ingest``."""
