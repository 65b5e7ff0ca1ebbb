"""What Prometheus and probes see of a process: the catalogue of metrics, and the port that serves them."""
