"""Measurements that the `mmrec bench` command makes on the machine it runs on."""
