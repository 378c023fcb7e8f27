"""The supply side: provider accounts, deployments, leases, and the offers the scheduler decides on."""
