"""The waist: what every rank class executes, independent of any cluster, profile or engine."""
