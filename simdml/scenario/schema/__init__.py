"""The format of scenario files, one section a file; converted once by :mod:`simdml.scenario.building`."""
