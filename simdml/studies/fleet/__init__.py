"""Several jobs on one cluster: queues of jobs that wait for GPUs, and jobs that share the network."""
