"""Results: step time, throughput, where the time goes, the critical path, timelines."""
