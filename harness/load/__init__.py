"""What drives the load: the paced closed loop in this process, and Locust as a subprocess."""
