"""Shared by the domains: partitions, resources, owners, and what is shown about tables."""
