"""The discrete-event engine: SimPy, streams, the fluid network, parameter-server shards, instruments."""
